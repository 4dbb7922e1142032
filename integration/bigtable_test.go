// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// manyServices is a nat table of kube-proxy's with k Services, of which the i-th
// has the NodePort 30000+i.
func manyServices(k int) string {
	var b strings.Builder
	b.WriteString("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n")
	for i := range k {
		fmt.Fprintf(&b, ":KUBE-EXT-%016d - [0:0]\n:KUBE-SEP-%016d - [0:0]\n", i, i)
	}
	b.WriteString("-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n")
	for i := range k {
		fmt.Fprintf(&b, "-A KUBE-SERVICES -d 10.96.%d.%d/32 -p tcp -m comment --comment \"ns/svc%d:http cluster IP\" -m tcp --dport 80 -j KUBE-EXT-%016d\n", i/250, i%250+1, i, i)
		fmt.Fprintf(&b, "-A KUBE-NODEPORTS -p tcp -m comment --comment \"ns/svc%d:http\" -m tcp --dport %d -j KUBE-EXT-%016d\n", i, 30000+i, i)
		fmt.Fprintf(&b, "-A KUBE-EXT-%016d -j KUBE-SEP-%016d\n-A KUBE-SEP-%016d -p tcp -m tcp -j DNAT --to-destination 10.88.0.5:8080\n", i, i, i)
	}
	b.WriteString("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n")
	return b.String()
}

// Of a big table only the chains that matter are read, and the decision is the
// same as with all of it.
func TestBigTables(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	n.Feed(manyServices(300), "iptables-nft-restore", "--noflush")
	n.Feed(`*nat
:A - [0:0]
:B - [0:0]
-A PREROUTING -p tcp -j A
-A A -p tcp -m multiport --dports 7000:7010 -j B
-A B -p tcp -m tcp --dport 7005 -j DNAT --to-destination 10.9.9.9:1
COMMIT
*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
-A INPUT -j KUBE-EXTERNAL-SERVICES
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "ns/empty has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 31000 -j REJECT
COMMIT
`, "iptables-nft-restore", "--noflush")
	first := n.NewPod("first")
	link(n, first)
	before := n.Rules()
	conf := func(p *lab.Pod, port int) string {
		return direct(n, p, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80}]`, port), "")
	}
	file := filepath.Join(t.TempDir(), "strace")
	if out, _, err := n.Call("ADD", first, conf(first, 8080), "strace", "-f", "-qq", "-o", file, "-e", "trace=execve"); err != nil {
		t.Fatalf("ADD: %s", out)
	}
	if b, _ := os.ReadFile(file); strings.Contains(string(b), `/iptables-nft-save"`) {
		t.Errorf("everything was read:\n%s", b)
	}
	held := n.Rules()
	for _, tc := range []struct {
		port int
		says string
	}{
		{30007, "NodePort of Service ns/svc7:http"},
		{31000, "NodePort of Service ns/empty (without endpoints"},
		{7005, "10.9.9.9:1"},
		{8080, "has hostPort 8080/tcp"},
		{7006, ""},
		{31001, ""},
	} {
		pod := n.NewPod("other")
		out, errs, err := n.Call("ADD", pod, conf(pod, tc.port))
		if (err == nil) != (tc.says == "") || !strings.Contains(out, tc.says) || strings.Contains(errs, "decode") {
			t.Errorf("%d: %v %s %s, want %q", tc.port, err, out, errs, tc.says)
		}
		if err != nil {
			unchanged(t, n, held)
		}
		mustCall(t, n, "DEL", pod, bare(n))
		unchanged(t, n, held)
	}
	mustCall(t, n, "CHECK", first, conf(first, 8080))
	mustCall(t, n, "ADD", first, conf(first, 8081))
	mustCall(t, n, "DEL", first, bare(n))
	unchanged(t, n, before)
}

// A list of sources that are dropped one by one is in nobody's way but theirs, however long it is.
func TestLongListsOfSources(t *testing.T) {
	besideEach(t, func(t *testing.T, n *lab.Node) {
		var b strings.Builder
		b.WriteString("*raw\n:BAD - [0:0]\n-A PREROUTING -j BAD\n")
		for i := range 11_000 { // more than a walk remembers ways
			fmt.Fprintf(&b, "-A BAD -s 10.%d.%d.1/32 -j DROP\n", 100+i>>8, i&255)
		}
		b.WriteString("-A BAD -s " + lab.ClientV4 + "/32 -p tcp -m tcp --dport 8081 -j DROP\nCOMMIT\n")
		n.Feed(b.String(), "iptables-restore", "--noflush")
		pod, list := n.NewPod("web"), n.Network("net", "4", nil)
		pod.Serve(80, "pod")
		if told := n.MustAdd(pod, list, lab.TCP(8080, 80), lab.TCP(8081, 80)); strings.Count(told, "warning:") != 1 || !strings.Contains(told, "8081/tcp") {
			t.Errorf("ADD said %q, and not once that 8081 does not work for everybody", told)
		}
		want(t, "a port", n.Client.Who("tcp4", lab.NodeV4+":8080"), "pod")
		want(t, "a port that the list keeps from the client", n.Client.Who("tcp4", lab.NodeV4+":8081"), "")
	})
}
