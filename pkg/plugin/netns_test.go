// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"os"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/plugins/pkg/testutils"

	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/place"
)

// realNetns makes a network namespace that goes with the test.
func realNetns(t *testing.T) (path string) {
	t.Helper()
	need.Root(t)
	n, err := testutils.NewNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.Close()
		if err := testutils.UnmountNS(n); err != nil {
			t.Error(err)
		}
	})
	return n.Path()
}

// mapped is configuration of a pod with a hostPort.
const mapped = `,"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":80}]},
	"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"192.0.2.9/24","interface":0}]}`

// For a pod with a namespace of its own ADD prints the result of the plugins before it.
func TestAddInARealNetns(t *testing.T) {
	b := newBench(t)
	a := b.args(b.pod("web"), mapped)
	a.Netns = realNetns(t)
	result, raw, err := testutils.CmdAddWithArgs(a, func() error {
		b.Stdout = os.Stdout // which testutils has replaced
		return b.Add(a)
	})
	if err != nil {
		t.Fatal(err)
	}
	b.wantIn(b.pod("web"), "localnet", place.NFTables)
	if result.Version() != "1.1.0" || !strings.Contains(string(raw), "192.0.2.9/24") {
		t.Errorf("ADD prints %s", raw)
	}
}

// The namespace of the node is no pod's.
func TestAddInOurOwnNetns(t *testing.T) {
	b := newBench(t)
	a := b.args(b.pod("web"), mapped)
	a.Netns = "/proc/self/ns/net"
	if err := b.Add(a); code(err) != types.ErrInvalidNetNS {
		t.Errorf("ADD: %v", err)
	}
	b.wantIn(b.pod("web"))
}
