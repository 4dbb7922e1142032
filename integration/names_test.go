// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"unicode"

	"github.com/portguard/portguard/integration/lab"
)

// oddNames are names that the kernel takes for a link.
func oddNames() []string {
	return []string{`";monitor#`, `eth0"#`, `"#`, `br'\`, "br+", "+", "!br", "-i", "--", "$(reboot)", "*", "a{b};c", "\x01\x1b[2J", "\xff\u202e"}
}

// An odd pod has an interface of an odd name, on a link that is called the same on the
// node.
type odd struct {
	*lab.Pod
	name, v4, conf string
	port           int
	conditional    bool
}

func newOdd(t *testing.T, n *lab.Node, i int, name string) *odd {
	t.Helper()
	o := &odd{Pod: n.NewPod("odd"), name: name, v4: fmt.Sprintf("10.88.1.%d", i+1), port: 8000 + i, conditional: i%2 == 0}
	n.Run("ip", "link", "add", "name", name, "type", "veth", "peer", "name", name, "netns", o.Name)
	n.Run("ip", "addr", "add", "169.254.1.1/32", "dev", name)
	n.Run("ip", "link", "set", "dev", name, "up")
	n.Run("ip", "route", "add", o.v4+"/32", "dev", name)
	o.Run("ip", "addr", "add", o.v4+"/32", "dev", name)
	o.Run("ip", "link", "set", "dev", name, "up")
	o.Run("ip", "route", "add", "169.254.1.1", "dev", name)
	o.Run("ip", "route", "add", "default", "via", "169.254.1.1")
	o.Serve(80, name)
	more := ""
	switch {
	case o.conditional && n.Native():
		more = `,"conditionsV4":["ip saddr ` + lab.ClientV4 + `","iifname != \"a;drop#\""]`
	case o.conditional:
		more = `,"conditionsV4":["-s","` + lab.ClientV4 + `","-m","comment","--comment","a\"; -j DROP"]`
	}
	called, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	o.conf = strings.NewReplacer(`"name":"eth0"`, `"name":`+string(called), "10.88.0.77/16", o.v4+"/32", `,{"address":"fd00:88::77/64","interface":0}`, "", `"1.0.0"`, `"1.1.0"`).
		Replace(direct(n, o.Pod, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80}]`, o.port), more))
	return o
}

func (o *odd) call(t *testing.T, n *lab.Node, verb, conf string) {
	t.Helper()
	if out, errs, err := n.CallOn(o.name, verb, o.Pod, conf); err != nil {
		t.Errorf("%s of %q: %s %s", verb, o.name, out, errs)
	}
}

// works expects CHECK and traffic to be as after ADD.
func (o *odd) works(t *testing.T, n *lab.Node) {
	t.Helper()
	o.call(t, n, "CHECK", o.conf)
	want(t, fmt.Sprintf("a client of %q", o.name), n.Client.Who("tcp4", net.JoinHostPort(lab.NodeV4, fmt.Sprint(o.port))), o.name)
	if !o.conditional {
		want(t, fmt.Sprintf("127.0.0.1 of %q", o.name), n.Who("tcp4", fmt.Sprintf("127.0.0.1:%d", o.port)), o.name)
	}
}

// Whatever the pod's interface and its link on the node are called, with conditions and
// without, every verb works, and so do the tools of others on what they print.
func TestNamesAreNoSyntax(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, n *lab.Node) {
		confDir(t, n, n.Network("net", "4", nil))
		var odds []*odd
		var valid []map[string]string
		for i, name := range oddNames() {
			odds = append(odds, newOdd(t, n, i, name))
			valid = append(valid, map[string]string{"containerID": odds[i].ID, "ifname": name})
		}
		before := n.Rules()
		for _, o := range odds {
			o.call(t, n, "ADD", o.conf)
		}
		held := n.Rules()
		for _, o := range odds {
			o.works(t, n)
		}
		for at, e := range listed(t, n) {
			if e.State != "ok" {
				t.Errorf("list says of %s: %s %s", at, e.State, e.Reason)
			}
		}
		for _, args := range [][]string{{"list"}, {"doctor"}, {"explain", "8012"}} {
			out, _ := cli(n, args...)
			if strings.ContainsFunc(strings.ReplaceAll(out, "\n", ""), func(r rune) bool { return !unicode.IsGraphic(r) }) {
				t.Errorf("%q prints %q", args, out)
			}
		}
		if !n.Native() {
			n.Run("sh", "-c", "iptables-save | iptables-restore")
		}
		all, _ := json.Marshal(valid)
		odds[0].call(t, n, "GC", collect(n, "net", `,"cni.dev/valid-attachments":`+string(all)))
		unchanged(t, n, held)
		flush(n)
		if out, err := cli(n, "restore"); err != nil || strings.Count(out, "restored ") != len(odds) {
			t.Errorf("restore: %v %s", err, out)
		}
		if out, err := cli(n, "restore"); err != nil || strings.Count(out, "ok ") != len(odds) {
			t.Errorf("restore again: %v %s", err, out)
		}
		n.WipeState()
		for _, o := range odds {
			o.works(t, n)
			o.call(t, n, "DEL", bare(n))
		}
		unchanged(t, n, before)
	})
}

// onEach runs a test once with each backend.
func onEach(t *testing.T, f func(t *testing.T, n *lab.Node)) {
	t.Helper()
	onFlavours(t, f)
	t.Run("nftables", func(t *testing.T) { f(t, newNode(t, "nftables", "nft")) })
}

// flush removes all rules of portguard.
func flush(n *lab.Node) {
	n.Run("sh", "-c", "nft delete table inet portguard; nft delete table inet portguard-localnet; iptables -t nat -F; iptables -t mangle -F; iptables -t nat -X; iptables -t mangle -X; true")
}
