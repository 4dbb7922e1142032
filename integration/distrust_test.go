// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// port is a request for one hostPort.
func port(n int) string { return fmt.Sprintf(`[{"hostPort":%d,"containerPort":80}]`, n) }

// beside makes a node with rules of kube-proxy and a first pod, so that our table is
// there.
func beside(t *testing.T) (n *lab.Node, pod, first *lab.Pod) {
	t.Helper()
	n = newNode(t, "nftables", "nft")
	n.KubeProxy("10.88.0.200:80")
	first, pod = n.NewPod("first"), n.NewPod("web")
	mustCall(t, n, "ADD", first, direct(n, first, port(9999), ""))
	return n, pod, first
}

// Text can leave out what a rule asks for, so that another rule behind it looks
// hidden. What nf_tables has decides, in every look.
func TestTextNeverFrees(t *testing.T) {
	n, pod, first := beside(t)
	n.Run("iptables-nft", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", "10.9.9.9")
	n.Feed("insert rule ip nat PREROUTING tcp doff 5 accept", "nft", "-f", "-") // printed by iptables as "-p tcp -j ACCEPT"
	must := func(when string) {
		t.Helper()
		if out, _, err := n.Call("ADD", pod, direct(n, pod, port(8080), "")); err == nil {
			t.Errorf("%s the port is called free: %s", when, out)
			mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
		}
	}
	must("at first")
	mustCall(t, n, "ADD", first, direct(n, first, port(9999), ""))
	must("after another ADD")
	stop, done := make(chan bool), make(chan bool)
	go func() { // each look finds that rules have changed
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(40 * time.Millisecond):
				_, _ = n.Try(fmt.Sprintf("add table ip t%d", i), "nft", "-f", "-")
			}
		}
	}()
	for range 6 {
		out, _, err := n.Call("ADD", pod, direct(n, pod, port(8080), ""), "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", "inject=sendto:delay_enter=1500")
		if err == nil {
			t.Errorf("while rules change the port is called free: %s", out)
			mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
		}
	}
	close(stop)
	<-done
}

// A rule that comes while an ADD or a DEL runs is seen by the next ADD, whenever it
// came: also between the last look at the generation and the transaction, where a
// new socket is set up.
func TestRuleDuringAdd(t *testing.T) {
	n, pod, _ := beside(t)
	other := n.NewPod("other")
	slow := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=setsockopt", "-e", "inject=setsockopt:delay_enter=100000"}
	for i := range 20 {
		verb := []string{"ADD", "DEL"}[i%2]
		done := make(chan bool)
		go func() {
			defer close(done)
			time.Sleep(50*time.Millisecond + time.Duration(i/2)*40*time.Millisecond)
			_, _ = n.Try("add table ip foo\nadd chain ip foo pre { type nat hook prerouting priority dstnat; }\nadd rule ip foo pre tcp dport 7070 dnat to 10.9.9.9", "nft", "-f", "-")
		}()
		if out, _, err := n.Call(verb, pod, direct(n, pod, port(8080), ""), slow...); err != nil {
			t.Errorf("%s: %s", verb, out)
		}
		<-done
		if out, _, err := n.Call("ADD", other, direct(n, other, port(7070), "")); err == nil || !strings.Contains(out, "10.9.9.9") {
			t.Errorf("ADD after a %s: %v %s", verb, err, out)
		}
		n.Feed("delete table ip foo", "nft", "-f", "-")
	}
}
