// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/inventory"
)

// What cannot be written or seen is an error, and never an empty list.
func TestNoAnswerIsNoEmptyList(t *testing.T) {
	t.Parallel()
	n, _ := serving(t, nil, lab.TCP(8080, 80))
	list := n.Bin + "/portguard list --conf-dir " + n.Dir + "/net.d"
	for name, script := range map[string]string{
		"a full device":   list + " > /dev/full",
		"a closed stdout": list + " >&-",
		"a hidden /proc":  "unshare -m sh -c 'mount --make-rprivate / && mount -t tmpfs none /proc && exec " + list + "'",
	} {
		out, err := n.Try("", "sh", "-c", script+"; echo code $?")
		if err != nil || !strings.Contains(out, "code 2") || strings.Contains(out, "No hostPorts") || !strings.Contains(out, "portguard: ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// A reload of firewalld 1.3 with its backend nftables, as it goes (fw.py, reload): the rules of
// iptables are flushed, and its own table is made anew. What is in nftables serves at each step;
// what is in iptables is back with the next call, or restore. TestRealFirewalld runs it itself.
func TestFirewalldReload(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"nftables", "iptables"} {
		n := newNode(t, backend, "nft")
		list := n.Network("net", "4", nil)
		confDir(t, n, list)
		load(n, "firewalld.nft", filters(t, "firewalld.nft", ""))
		web := n.NewPod("web")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		serves := func(when string, yes bool) {
			t.Helper()
			want(t, backend+" "+when, n.Client.Who("tcp4", lab.NodeV4+":8080"), map[bool]string{true: "web"}[yes])
		}
		serves("before", true)
		n.Run("sh", "-ec", "for t in nat mangle raw filter; do for v in '' 6; do ip${v}tables -t $t -F; ip${v}tables -t $t -X; done; done")
		serves("once iptables is flushed", n.Native())
		n.Run("nft", "delete", "table", "inet", "firewalld")
		serves("without its table", n.Native())
		load(n, "firewalld.nft", filters(t, "firewalld.nft", ""))
		found, _ := diagnosis(t, n)
		lost := !n.Native()
		if e := listed(t, n)["0.0.0.0 8080/tcp"]; (e.State == inventory.Missing) != lost || (found["missing"].Remedy == "portguard restore") != lost {
			t.Errorf("list says %s, doctor %+v", e.State, found)
		}
		if _, err := cli(n, "restore"); err != nil {
			t.Errorf("restore: %v", err)
		}
		agree(t, n, web, "web", 8080, true)
	}
}
