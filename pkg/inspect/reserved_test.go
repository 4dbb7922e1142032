// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"io"
	"testing"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/plugin"
)

// refuser is a node on which binds were refused.
type refuser struct {
	*node
	asked [][]uint32
}

func (n *refuser) Backends(plugin.BackendOptions) []backend.Backend { return []backend.Backend{n} }

func (n *refuser) Load() (backend.State, error) { return refused{held{}}, nil }

func (n *refuser) PodsOfGroups(groups []uint32, _ string) map[uint32]string {
	n.asked = append(n.asked, groups)
	return map[uint32]string{7: "pod default/web"}
}

type refused struct{ held }

func (refused) Off() string                               { return "" }
func (refused) Holds(hostport.Mapping, hostport.Key) bool { return true }

func (refused) Refusals() (out []hostport.Refusal) {
	for port, group := range []uint32{7, 8, 7, 0} {
		out = append(out, hostport.Refusal{Port: uint16(port), Group: group})
	}
	return out
}

// To find cgroups all of them have to be looked at: that is done once, however many binds
// were refused.
func TestGroupsAreLookedForOnce(t *testing.T) {
	b := newBench(t)
	n := &refuser{node: b.node}
	i := &Inspector{Node: n, Plugin: plugin.New(n, io.Discard, io.Discard)}
	l, err := i.List(b.conf)
	if err != nil || len(l.RefusedBinds) != 4 {
		t.Fatalf("%+v, %v", l, err)
	}
	for port, want := range []string{"pod default/web", "", "pod default/web", ""} {
		if got := l.RefusedBinds[port].Pod; got != want {
			t.Errorf("%d: %q, want %q", port, got, want)
		}
	}
	if len(n.asked) != 1 || len(n.asked[0]) != 2 {
		t.Errorf("asked %v", n.asked)
	}
}
