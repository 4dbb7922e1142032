// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/nfttable"
)

// node are the links of a node: names by index.
type node map[int]string

func (n node) Name(index int) (string, error) { return n[index], nil }

func (n node) Index(name string) (int, error) {
	for i, s := range n {
		if s == name {
			return i, nil
		}
	}
	return 0, nil
}

// guarded is what a table says of the links, with says that of each that is not as it
// should be.
func guarded(t *testing.T, table *nfttable.Table, n node) (says map[string]string) {
	t.Helper()
	links, err := Guarded(table, n)
	if err != nil {
		t.Fatal(err)
	}
	says = map[string]string{}
	for name, l := range links {
		says[name] = strings.Join(l.Broken, "; ")
	}
	return says
}

func withGuarded(t *testing.T, table *nfttable.Table, n node, names ...string) *nfttable.Table {
	t.Helper()
	links := map[string]localnet.Link{}
	for _, name := range names {
		links[name] = localnet.Link{Broken: []string{"something"}}
	}
	to, err := WithGuarded(table, links, n)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// What is written of links is read again, a link keeps its guard when it is renamed, and a
// table without links is not there.
func TestGuarded(t *testing.T) {
	n := node{1: "cni0", 7: "veth1.100", 300: "a15character\"%"}
	table := withGuarded(t, GuardSpec().Absent(), n, "cni0", "veth1.100", "a15character\"%", "gone")
	for e := range table.All() {
		if strings.ContainsAny(e.Comment, "\"\x1b") {
			t.Errorf("nft does not read what it prints of the comment %q", e.Comment)
		}
	}
	for _, tt := range []struct {
		name string
		now  node
		want map[string]string
	}{
		{"as it was", n, map[string]string{"cni0": "", "veth1.100": "", "a15character\"%": ""}},
		{"renamed", node{1: "br0", 7: "veth1.100", 300: "a15character\"%"}, map[string]string{"br0": "", "veth1.100": "", "a15character\"%": ""}},
		{"gone", node{7: "veth1.100", 300: "a15character\"%"}, map[string]string{"cni0": "", "veth1.100": "", "a15character\"%": ""}},
		{"made again", node{2: "cni0", 7: "veth1.100", 300: "a15character\"%"}, map[string]string{"cni0": "the guard of cni0 is for an earlier link of that name", "veth1.100": "", "a15character\"%": ""}},
		{"one has the name of another", node{1: "cni0", 7: "gone"}, map[string]string{"cni0": "", "gone": "", "a15character\"%": ""}},
	} {
		if d := cmp.Diff(tt.want, guarded(t, table, tt.now)); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
	}
	again := withGuarded(t, table, node{2: "cni0", 7: "veth1.100"}, "cni0")
	if d := cmp.Diff(map[string]string{"cni0": ""}, guarded(t, again, node{2: "cni0", 7: "veth1.100"})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if left := withGuarded(t, table, n); left.There {
		t.Error("a table without links is there")
	}
	if p := nfttable.Diff(table, withGuarded(t, table, n, "cni0", "veth1.100", "a15character\"%")); !p.Empty() {
		t.Error("what was read changes something")
	}
}

// What is broken shows at each link, and is mended.
func TestBrokenGuard(t *testing.T) {
	n := node{1: "cni0"}
	table := *withGuarded(t, GuardSpec().Absent(), n, "cni0")
	table.Broken = []string{"chain gate"}
	if got := guarded(t, &table, n)["cni0"]; got != "table inet portguard-localnet: chain gate is not as installed" {
		t.Errorf("broken: %q", got)
	}
	if p := nfttable.Diff(&table, withGuarded(t, &table, n, "cni0")); p.Empty() {
		t.Error("it is not mended")
	}
}

// The mappings tell who needs which link, whatever their shape.
func TestLinks(t *testing.T) {
	for name, a := range shapes() {
		got := absent().With(a).(*State).Links()
		if !a.Localhost {
			if len(got) > 0 {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		if keys := slices.Compact(got["cni0"]); len(got) != 1 || len(keys) != 1 || keys[0] != a.Owner.Key() {
			t.Errorf("%s: %v", name, got)
		}
	}
}
