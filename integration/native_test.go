// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// Native nftables is read whatever it is called, and without the nft binary.
func TestNativeRulesRefuse(t *testing.T) {
	for _, tc := range []struct{ name, rules, says, code string }{
		{"a map of translations in an inet table", `table inet t {
			map m { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 8080 : 10.9.9.9 . 80 } }
			chain pre { type nat hook prerouting priority -101; fib daddr type local dnat ip to meta l4proto . th dport map @m; }
		}`, "nftables inet t pre", "103"},
		{"a redirect of the node's own packets", `table ip6 t {
			chain out { type nat hook output priority 50; tcp dport 8000-8090 redirect to :9; }
		}`, "nftables ip6 t out", "103"},
		{"behind a verdict map and a goto", `table ip t {
			chain c { tcp dport 8080 dnat to 10.9.9.9:80; }
			chain pre { type nat hook prerouting priority dstnat; meta l4proto . th dport vmap { tcp . 8000-8090 : goto c }; }
		}`, `pre \u003e c`, "103"},
		{"portmap's nftables backend", `table ip cni_hostport {
			chain hostports { tcp dport 8080 dnat to 10.88.0.9:80 comment "0123456789abcdef"; }
			chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump hostports; }
		}`, "portmap has it for container 0123456789abc (dnat", "103"},
		{"an expression that depends on what nobody knows", `table ip t {
			chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 meta mark 7 dnat to 10.9.9.9:80; }
		}`, "mark that no rule sets", "104"},
		{"a transparent proxy", `table inet t {
			chain pre { type filter hook prerouting priority mangle; tcp dport 8080 tproxy ip to 127.0.0.1:1; }
		}`, "tproxy", "103"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := lab.NewNode(t, bin, "nft")
			n.Feed(tc.rules, "nft", "-f", "-")
			n.Shadow("nft", "exit 1")
			pod := n.NewPod("web")
			out, _, err := n.Call("ADD", pod, direct(n, pod, `[{"hostPort":8080,"containerPort":80}]`, ""))
			if err == nil || !strings.Contains(out, tc.says) || !strings.Contains(out, `"code": `+tc.code) {
				t.Errorf("ADD: %v, want %s with %q: %s", err, tc.code, tc.says, out)
			}
			mustCall(t, n, "ADD", pod, direct(n, pod, `[{"hostPort":7999,"containerPort":80}]`, ""))
			mustCall(t, n, "DEL", pod, bare(n))
		})
	}
}

// A big foreign map costs a look-up, not a dump.
func TestBigMapsAreNotListed(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	pod := n.NewPod("web")
	conf := direct(n, pod, `[{"hostPort":8080,"containerPort":80}]`, "")
	load := func(elements int) { n.Feed(lab.ServiceMap(elements), "nft", "-f", "-") }
	received := func() int {
		file := filepath.Join(t.TempDir(), "strace")
		if out, _, err := n.Call("ADD", pod, conf, "strace", "-f", "-qq", "-o", file, "-e", "trace=recvfrom,recvmsg"); err != nil {
			t.Fatalf("ADD: %v %s", err, out)
		}
		b, _ := os.ReadFile(file)
		return netlinkBytes(string(b))
	}
	load(0)
	received() // makes the tables, which iptables reads from then on
	before := received()
	n.Run("nft", "delete", "table", "ip", "kube-proxy")
	load(45000)
	if after := received(); after > before+1000 {
		t.Errorf("netlink answers grew from %d to %d bytes", before, after)
	}
}

// A set of many members takes what one of them says, and one that is too long to be listed
// is named.
func TestSetOfManyMembers(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	pod := n.NewPod("web")
	conf := direct(n, pod, `[{"hostPort":8080,"containerPort":80}]`, `,"localhost":false`)
	for _, tc := range []struct {
		many int
		port int // of one more member
		code string
		says string
	}{
		{5, 443, "", ""},
		{5000, 443, "", ""},
		{5000, 8080, `"code": 103`, "redirect"},
		{25000, 443, `"code": 103`, "portguard does not know what is in set members: it lists none of more than 20000 elements"},
	} {
		elements := []string{fmt.Sprintf("203.0.113.1 . %d", tc.port)}
		for i := range tc.many {
			elements = append(elements, fmt.Sprintf("198.18.%d.%d . %d", i/200, i%200, 10000+i%1000))
		}
		n.Feed("table ip x { set members { type ipv4_addr . inet_service; elements = { "+strings.Join(elements, ", ")+` } }
			chain nat { type nat hook prerouting priority -110; ip saddr . tcp dport @members redirect to :9999; }; }`, "nft", "-f", "-")
		out, errs, err := n.Call("ADD", pod, conf)
		if (err == nil) != (tc.code == "") || !strings.Contains(out, tc.code) || !strings.Contains(out, tc.says) || errs != "" {
			t.Errorf("%d and one of port %d: %v %s%s", tc.many, tc.port, err, out, errs)
		}
		mustCall(t, n, "DEL", pod, bare(n))
		n.Run("nft", "delete", "table", "ip", "x")
	}
}

// A rule that moves from one chain to another while they are read is seen all the
// same: what was read must be of one generation.
func TestRulesThatMove(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	// Many chains between the two leave time for the move.
	var between, jumps strings.Builder
	for i := range 40 {
		fmt.Fprintf(&between, "chain c%d { }\n", i)
		fmt.Fprintf(&jumps, "jump c%d; ", i)
	}
	n.Feed(`table ip foo {
		chain a { tcp dport 8080 dnat to 10.9.9.9:80; }
		chain b { }
		`+between.String()+`chain pre { type nat hook prerouting priority dstnat; jump a; `+jumps.String()+`jump b; }
	}`, "nft", "-f", "-")
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for from, to := "a", "b"; ; from, to = to, from {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				_, _ = n.Try("flush chain ip foo "+from+"; add rule ip foo "+to+" tcp dport 8080 dnat to 10.9.9.9:80", "nft", "-f", "-")
			}
		}
	}()
	pod := n.NewPod("web")
	said := map[string]int{}
	for range 8 {
		out, _, err := n.Call("ADD", pod, direct(n, pod, `[{"hostPort":8080,"containerPort":80}]`, ""),
			"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", "inject=sendto:delay_enter=2000")
		switch {
		case err == nil:
			t.Error("the port was called free")
			mustCall(t, n, "DEL", pod, bare(n))
		case strings.Contains(out, "10.9.9.9"):
			said["taken"]++
		case strings.Contains(out, "keep changing") && strings.Contains(out, `"code": 11`):
			said["try again"]++
		default:
			t.Errorf("ADD: %s", out)
		}
	}
	close(stop)
	<-done
	if said["taken"]+said["try again"] == 0 {
		t.Error("nothing was said")
	}
}
