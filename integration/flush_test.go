// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// Somebody who flushes rules all the time makes neither an ADD nor a DEL fail: what is gone
// already is no failure, and what was made anew meanwhile is looked at again.
func TestFlushesMeanwhile(t *testing.T) {
	flush := func(tool string) string {
		return "-t nat -F; " + tool + " -t nat -X"
	}
	for _, tc := range []struct{ name, backend, flavour, script string }{
		{"nftables", "nftables", "nft", "nft flush ruleset"},
		{"elements of nftables", "nftables", "nft", "nft flush map inet portguard ports4; nft delete table inet portguard-localnet"},
		{"iptables-nft", "iptables", "nft", "iptables-nft " + flush("iptables-nft")},
		{"iptables-nft with all tables", "iptables", "nft", "nft flush ruleset"},
		{"iptables-legacy", "iptables", "legacy", "iptables-legacy " + flush("iptables-legacy")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t, tc.backend, tc.flavour)
			other, pod := n.NewPod("other"), n.NewPod("web")
			link(n, pod)
			mustCall(t, n, "ADD", other, direct(n, other, port(9999), `,"localhost":false`))
			stop, done := make(chan bool), make(chan bool)
			go func() {
				defer close(done)
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Microsecond):
						_, _ = n.Try("", "sh", "-c", tc.script)
					}
				}
			}()
			for range 5 {
				for _, verb := range []string{"ADD", "DEL"} {
					if out, errs, err := n.Call(verb, pod, direct(n, pod, mapping, "")); err != nil {
						t.Errorf("%s: %v %s %s", verb, err, out, errs)
					}
				}
			}
			close(stop)
			<-done
			for _, p := range []*lab.Pod{pod, other} {
				mustCall(t, n, "DEL", p, bare(n))
			}
			unchanged(t, n, "")
		})
	}
}
