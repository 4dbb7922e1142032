// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// optional lists the optional rules that are there.
func optional(n *lab.Node) string {
	var out []string
	for line := range strings.Lines(n.Run("nft", "list", "table", "inet", "portguard")) {
		if _, o, ok := strings.Cut(line, `comment "portguard: `); ok && !strings.Contains(line, "elements") && !strings.Contains(o, ",") {
			if name := strings.TrimRight(o, "\"\n "); !strings.HasPrefix(name, "neighbours") && !strings.HasPrefix(name, "route_localnet") {
				out = append(out, name)
			}
		}
	}
	return strings.Join(out, ", ")
}

// Rules that few need are there while somebody needs them, and are made again with
// what they are for.
func TestOptionalRules(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	plain, one, cond, spare := n.NewPod("plain"), n.NewPod("one"), n.NewPod("cond"), n.NewPod("spare")
	last := map[*lab.Pod]string{plain: "77", one: "78", cond: "79", spare: "80"} // of their addresses
	conf := func(p *lab.Pod, ports, more string) string {
		return strings.NewReplacer("10.88.0.77", "10.88.0."+last[p], "fd00:88::77", "fd00:88::"+last[p]).Replace(direct(n, p, ports, more))
	}
	call := func(verb string, p *lab.Pod, ports, more string) {
		t.Helper()
		mustCall(t, n, verb, p, conf(p, ports, more))
	}
	is := func(when, want string) {
		t.Helper()
		if got := optional(n); got != want {
			t.Errorf("%s: the rules are %q, not %q", when, got, want)
		}
	}
	const networks = "near 10.88.0.0/16, near fd00:88::/64"
	call("ADD", plain, port(8080), "")
	is("a wildcard", networks)
	hostIP := fmt.Sprintf(`[{"hostPort":8081,"containerPort":80,"hostIP":%q}]`, lab.NodeV4)
	call("ADD", one, hostIP, "")
	is("a hostIP", "addresses4, "+networks)
	conditions := `,"conditionsV4":["ip saddr 10.0.0.0/8"]`
	call("ADD", cond, port(8082), conditions)
	is("conditions", "conditions4, addresses4, "+networks)
	excludes := `,"excludeCIDRs":["192.0.2.9/32"]`
	call("ADD", spare, port(8083), excludes)
	is("excludes", "conditions4, addresses4, spared4, "+networks)
	for _, spoil := range []string{"flush chain inet portguard hostports4", "flush chain inet portguard postrouting", "delete table inet portguard"} {
		n.Feed(spoil, "nft", "-f", "-")
		if out, _, err := n.Call("CHECK", one, conf(one, hostIP, "")); err == nil {
			t.Errorf("%s: CHECK finds nothing: %s", spoil, out)
		}
		call("ADD", plain, port(8080), "")
		if strings.HasPrefix(spoil, "delete") { // nobody knows of the others but their records
			call("ADD", one, hostIP, "")
			call("ADD", cond, port(8082), conditions)
			call("ADD", spare, port(8083), excludes)
		}
		is(spoil, "conditions4, addresses4, spared4, "+networks)
		for p, c := range map[*lab.Pod]string{one: conf(one, hostIP, ""), cond: conf(cond, port(8082), conditions), spare: conf(spare, port(8083), excludes)} {
			if out, _, err := n.Call("CHECK", p, c); err != nil {
				t.Errorf("%s: %s", spoil, out)
			}
		}
	}
	n.Feed("delete rule inet portguard postrouting handle "+handle(t, n, "postrouting", "near 10.88"), "nft", "-f", "-")
	if out, _, err := n.Call("CHECK", one, conf(one, hostIP, "")); err == nil || !strings.Contains(out, "near 10.88.0.0/16") {
		t.Errorf("CHECK without the rule for neighbours: %s", out)
	}
	call("ADD", plain, port(8080), "")
	is("an ADD behind that", "conditions4, addresses4, spared4, "+networks)
	call("DEL", cond, port(8082), conditions)
	is("DEL of conditions", "addresses4, spared4, "+networks)
	call("DEL", spare, port(8083), excludes)
	call("DEL", one, hostIP, "")
	is("only the wildcard is left", networks)
}

// handle is that of the rule of a chain that holds a text.
func handle(t *testing.T, n *lab.Node, chain, text string) string {
	t.Helper()
	for line := range strings.Lines(n.Run("nft", "-a", "list", "chain", "inet", "portguard", chain)) {
		if _, h, ok := strings.Cut(line, "# handle "); ok && strings.Contains(line, text) {
			return strings.TrimSpace(h)
		}
	}
	t.Fatalf("chain %s has no rule with %q", chain, text)
	return ""
}
