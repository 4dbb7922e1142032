// SPDX-License-Identifier: Apache-2.0

// Package integration runs the real plugin with the real bridge and host-local
// plugins on nodes made of network namespaces, with real traffic.
package integration

import (
	"os"
	"os/exec"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// bin is where TestMain puts the binaries.
var bin string

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run, &bin)) }

// onFlavours runs a test of portguard's iptables backend on a node of each
// flavour.
func onFlavours(t *testing.T, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	for _, fl := range []string{"nft", "legacy"} {
		t.Run("iptables-"+fl, func(t *testing.T) { f(t, newNode(t, "iptables", fl)) })
	}
}

// onBackends runs a test with each backend, on nodes whose other rules are those
// of either flavour of iptables.
func onBackends(t *testing.T, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	onFlavours(t, f)
	for _, fl := range []string{"nft", "legacy"} {
		t.Run("nftables-beside-"+fl, func(t *testing.T) { f(t, newNode(t, "nftables", fl)) })
	}
}

func newNode(t *testing.T, backend, flavour string) *lab.Node {
	t.Helper()
	if _, err := exec.LookPath("iptables-" + flavour); err != nil {
		t.Fatalf("iptables-%s is not installed: %v", flavour, err)
	}
	n := lab.NewNode(t, bin, flavour)
	n.Backend = backend
	return n
}
