// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// ownTable makes a table that goes with its owner, and returns how to let it go.
func ownTable(t *testing.T, n *lab.Node, body string) (leave func()) {
	t.Helper()
	owner := n.Command("nft", "-i")
	in, err := owner.StdinPipe()
	if err == nil {
		n.Do(func() { err = owner.Start() })
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owner.Process.Kill() })
	fmt.Fprintf(in, "table ip own { flags owner; %s }\n", body)
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(n.Run("nft", "list", "tables"), "ip own") {
		if time.Now().After(deadline) {
			t.Fatal("nft makes no table with an owner")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return func() {
		t.Helper()
		in.Close()
		_ = owner.Wait()
		if tables := n.Run("nft", "list", "tables"); strings.Contains(tables, "ip own") {
			t.Fatal("the table is there without its owner: " + tables)
		}
	}
}

// The kernel drops a table whose owner has closed its socket, which is no
// transaction: what only the memory knows refuses nobody.
func TestTableWithoutOwner(t *testing.T) {
	n, pod, _ := remembering(t)
	leave := ownTable(t, n, "chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 10.9.9.9; };")
	if out, _, err := n.Call("ADD", pod, direct(n, pod, port(8080), "")); err == nil || !strings.Contains(out, "10.9.9.9") {
		t.Fatalf("ADD: %v %s", err, out)
	}
	leave()
	mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), ""))
}

// When the owner of a table goes, so do its sets: what cannot be read by the memory is
// read without it.
func TestSetWithoutOwner(t *testing.T) {
	n, pod, _ := remembering(t)
	other := n.NewPod("other")
	leave := ownTable(t, n, "set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }; chain pre { type nat hook prerouting priority dstnat; tcp dport 8081 ip saddr @s dnat to 10.9.9.9; };")
	mustCall(t, n, "ADD", pod, direct(n, pod, port(8080), "")) // knows the rule, and has not asked for the set
	leave()
	mustCall(t, n, "ADD", other, direct(n, other, port(8081), ""))
}

// Text can leave out what a rule asks for, so that another rule behind it looks
// hidden. What nf_tables has decides, in every look.
func TestTextNeverFrees(t *testing.T) {
	n, pod, first := remembering(t)
	n.Run("iptables-nft", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", "10.9.9.9")
	n.Feed("insert rule ip nat PREROUTING tcp doff 5 accept", "nft", "-f", "-") // printed by iptables as "-p tcp -j ACCEPT"
	must := func(when string) {
		t.Helper()
		if out, _, err := n.Call("ADD", pod, direct(n, pod, port(8080), "")); err == nil {
			t.Errorf("%s the port is called free: %s", when, out)
			mustCall(t, n, "DEL", pod, direct(n, pod, port(8080), ""))
		}
	}
	must("without a memory")
	for range 2 {
		mustCall(t, n, "ADD", first, direct(n, first, port(9999), ""))
		must("with a memory")
	}
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
