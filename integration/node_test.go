// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// route_localnet lets nobody but the node itself reach 127.0.0.0/8.
func TestLocalhostGuard(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		web, evil := n.NewPod("web"), n.NewPod("evil")
		web.Serve(80, "web")
		n.ServeTCP("tcp4", "127.0.0.1:6000", "secret")
		n.MustAdd(evil, list)
		n.MustAdd(web, list, lab.TCP(8080, 80))
		want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/cni0/route_localnet"), "1")
		aims(evil.Netns, "10.88.0.1", evil.V4)
		want(t, "a pod's packet to 127.0.0.1 of the node", evil.Who("tcp4", "127.0.0.1:6000"), "")
		n.Run("nft", "table ip other { chain raw { type filter hook prerouting priority raw; ip daddr 127.0.0.1 tcp dport 6001 notrack; }; }")
		n.ServeTCP("tcp4", "127.0.0.1:6001", "untracked")
		want(t, "one without conntrack", evil.Who("tcp4", "127.0.0.1:6001"), "")
		unguard(n)
		want(t, "the same without the guard (does the attack work?)", evil.Who("tcp4", "127.0.0.1:6000"), "secret")
		want(t, "the same without conntrack", evil.Who("tcp4", "127.0.0.1:6001"), "untracked")

		if err := n.Del(web, list, lab.TCP(8080, 80)); err != nil {
			t.Fatal(err)
		}
		off := n.NewPod("off")
		off.Serve(80, "off")
		n.MustAdd(off, n.Network("net", "4", lab.Conf{"localhost": false}), lab.TCP(8081, 80))
		want(t, "localhost when it is off", n.Who("tcp4", "127.0.0.1:8081"), "")
		want(t, "the node address when localhost is off", n.Who("tcp4", lab.NodeV4+":8081"), "off")
	})
}

// Only the UDP flows of the mapping are forgotten.
func TestConntrack(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		pod := n.NewPod("dns")
		pod.Serve(53, "pod")
		n.Client.ServeUDP("udp4", ":53", "remote")
		n.KubeProxy("10.88.0.200:80") // conntrack starts with the first nat rule
		old := n.Open("udp4", lab.ClientV4+":53")
		want(t, "a flow of the node's own", lab.Ask(old), "remote "+lab.NodeV4)
		client := n.Client.Open("udp4", lab.NodeV4+":53")
		want(t, "before ADD", lab.Ask(client), "")
		flows := func() string {
			return n.Run("sh", "-c", "conntrack -L -p udp --orig-dst "+lab.ClientV4+" -o id 2>/dev/null")
		}
		id := conntrackID(flows())

		n.MustAdd(pod, list, lab.UDP(53, 53))
		want(t, "the same socket after ADD", lab.Ask(client), "pod "+lab.ClientV4)
		if err := n.Del(pod, list, lab.UDP(53, 53)); err != nil {
			t.Fatal(err)
		}
		n.ServeUDP("udp4", ":53", "host")
		want(t, "the same socket after DEL", lab.Ask(client), "host "+lab.ClientV4)
		if now := conntrackID(flows()); id == "" || now != id {
			t.Errorf("somebody else's flow was dropped: id %q before, %q after", id, now)
		}
	})
}

// The same for a mapping with conditions, with and without its record.
func TestConntrackWithConditions(t *testing.T) {
	for _, wiped := range []bool{false, true} {
		n := newNode(t, "", "nft")
		list := n.Network("net", "46", lab.Conf{"conditionsV4": []string{"ip saddr " + lab.ClientV4}})
		pod := n.NewPod("dns")
		pod.Serve(53, "pod")
		n.MustAdd(pod, list, lab.UDP(5353, 53))
		client := n.Client.Open("udp4", lab.NodeV4+":5353")
		want(t, "after ADD", lab.Ask(client), "pod "+lab.ClientV4)
		if wiped {
			n.WipeState()
		}
		if err := n.Del(pod, list, lab.UDP(5353, 53)); err != nil {
			t.Fatal(err)
		}
		n.ServeUDP("udp4", ":5353", "host")
		want(t, fmt.Sprintf("the same socket after DEL, wiped %t", wiped), lab.Ask(client), "host "+lab.ClientV4)
	}
}

func conntrackID(s string) string {
	_, id, _ := strings.Cut(s, " id=")
	id, _, _ = strings.Cut(id, "\n")
	return strings.TrimSpace(id)
}

// Pods at once, each for a port of its own.
func TestManyAtOnce(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		before := n.Rules()
		const k = 100
		errs := make(chan string, 2*k)
		run := func(verb string, i int) {
			p := &lab.Pod{Netns: n.Client, ID: fmt.Sprintf("many%d", i)}
			conf := direct(n, p, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80},{"hostPort":7777,"containerPort":80,"hostIP":"192.0.2.%d"}]`, 2000+i, 100+i), `,"lockTimeout":"10m"`)
			out, _, err := n.Call(verb, p, conf)
			if err != nil {
				errs <- fmt.Sprintf("%s %d: %v %s", verb, i, err, out)
				return
			}
			errs <- ""
		}
		for _, verb := range []string{"ADD", "DEL"} {
			for i := range k {
				go run(verb, i)
			}
			for range k {
				select {
				case e := <-errs:
					if e != "" {
						t.Error(e)
					}
				case <-time.After(10 * time.Minute):
					t.Fatal("stuck")
				}
			}
			rules := n.Rules()
			if verb == "ADD" && n.Mapped("10.88.0.77") != 2*k {
				t.Errorf("mappings are missing or doubled:\n%s", rules)
			}
			const local = "-m addrtype --dst-type LOCAL -m comment --comment portguard -j PORTGUARD-"
			for jump, want := range map[string]int{"-A PREROUTING ! -d 127.0.0.0/8 " + local + "INCOMING\n": 1, "-A PREROUTING " + local + "INCOMING\n": 1, "-A OUTPUT " + local + "HOSTPORTS\n": 2} {
				if verb == "ADD" && !n.Native() && strings.Count(rules, jump) != want {
					t.Errorf("%q is missing or doubled:\n%s", jump, rules)
				}
			}
		}
		unchanged(t, n, before)
	})
}

// Of many pods that ask for one port at once, one gets it, and the others are
// told who.
func TestOnePortManyPods(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		const k = 50
		answers := make(chan string, k)
		for i := range k {
			p := &lab.Pod{Netns: n.Client, ID: fmt.Sprintf("one%d", i), Args: fmt.Sprintf("K8S_POD_NAMESPACE=default;K8S_POD_NAME=one%d", i)}
			go func() {
				out, _, err := n.Call("ADD", p, direct(n, p, `[{"hostPort":80,"containerPort":80}]`, `,"lockTimeout":"10m"`))
				switch {
				case err == nil:
					answers <- "got it"
				case strings.Contains(out, "pod default/one"):
					answers <- "refused"
				default:
					answers <- out
				}
			}()
		}
		count := map[string]int{}
		for range k {
			count[<-answers]++
		}
		if count["got it"] != 1 || count["refused"] != k-1 {
			t.Errorf("got %v", count)
		}
		if c := n.Mapped("10.88.0.77"); c != 1 {
			t.Errorf("%d translations", c)
		}
	})
}
