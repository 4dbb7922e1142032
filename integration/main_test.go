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
// flavour, beside other tests: most of the time they wait for something.
func onFlavours(t *testing.T, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	t.Parallel()
	for _, fl := range []string{"nft", "legacy"} {
		onNode(t, "iptables-"+fl, "iptables", fl, f)
	}
}

// onBackends runs a test with each backend, on nodes whose other rules are those
// of either flavour of iptables, beside other tests.
func onBackends(t *testing.T, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	onFlavours(t, f)
	for _, fl := range []string{"nft", "legacy"} {
		onNode(t, "nftables-beside-"+fl, "nftables", fl, f)
	}
}

// aloneOnBackends is onBackends for what takes all processors, one after the other.
func aloneOnBackends(t *testing.T, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	for _, backend := range []string{"iptables", "nftables"} {
		for _, fl := range []string{"nft", "legacy"} {
			t.Run(backend+" beside "+fl, func(t *testing.T) { f(t, newNode(t, backend, fl)) })
		}
	}
}

// onNode runs a part of a test on a node of its own, beside other tests.
func onNode(t *testing.T, name, backend, flavour string, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		f(t, newNode(t, backend, flavour))
	})
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
