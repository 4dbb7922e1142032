// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// A crowd is one pod with many attachments, each with a hostPort of TCP and of UDP,
// more than one chain of iptables takes.
type crowd struct {
	n   *lab.Node
	pod *lab.Pod
}

const crowdSize = 24

func newCrowd(t *testing.T, n *lab.Node) crowd {
	t.Helper()
	c := newPlace(n)
	for i := range crowdSize {
		c.add(t, i)
	}
	return c
}

// newPlace is a crowd of nobody yet.
func newPlace(n *lab.Node) crowd {
	c := crowd{n, n.NewPod("crowd")}
	n.Run("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", c.pod.Name)
	n.Run("ip", "link", "set", "pod0", "up")
	n.Run("ip", "addr", "add", "10.88.0.1/24", "dev", "pod0")
	c.pod.Run("ip", "addr", "add", "10.88.0.77/24", "dev", "eth0")
	c.pod.Run("ip", "link", "set", "eth0", "up")
	c.pod.Run("ip", "route", "add", "default", "via", "10.88.0.1")
	n.Sysctl("net/ipv4/ip_forward", "1")
	return c
}

// hostPort is that of an attachment: some share a range of 16, most do not.
func (c crowd) hostPort(i int) int { return 9000 + 7*i + i%3*5000 }

func (c crowd) conf(i int) string {
	return direct(c.n, c.pod, fmt.Sprintf(`[{"hostPort":%[1]d,"containerPort":%[2]d},{"hostPort":%[1]d,"containerPort":%[2]d,"protocol":"udp"}]`, c.hostPort(i), 1000+i), "")
}

func (c crowd) call(t *testing.T, command string, i int, conf string) {
	t.Helper()
	ifName := fmt.Sprint("net", i)
	conf = strings.Replace(conf, `"name":"eth0"`, fmt.Sprintf(`"name":%q`, ifName), 1)
	if out, errs, err := c.n.CallOn(ifName, command, c.pod, conf); err != nil {
		t.Fatalf("%s of %d: %v %s %s", command, i, err, out, errs)
	}
}

func (c crowd) add(t *testing.T, i int) { t.Helper(); c.call(t, "ADD", i, c.conf(i)) }

// leave takes all away; the rules are those of before then.
func (c crowd) leave(t *testing.T, before string) {
	t.Helper()
	for i := range crowdSize {
		c.call(t, "DEL", i, bare(c.n))
	}
	unchanged(t, c.n, before)
}

// works asks an attachment's ports from outside, from the node and from the pod itself.
// What comes from the pod's network, or from 127.0.0.1, is masqueraded.
func (c crowd) works(t *testing.T, i int) {
	t.Helper()
	for _, network := range []string{"tcp4", "udp4"} {
		for _, from := range []struct {
			name   string
			ns     *lab.Netns
			to, as string
		}{
			{"outside", c.n.Client, lab.NodeV4, lab.ClientV4},
			{"the node", c.n.Netns, lab.NodeV4, lab.NodeV4},
			{"the pod", c.pod.Netns, lab.NodeV4, "10.88.0.1"},
			{"the node", c.n.Netns, "127.0.0.1", "10.88.0.1"},
		} {
			to := fmt.Sprintf("%s:%d", from.to, c.hostPort(i))
			want(t, fmt.Sprintf("%s %s from %s", network, to, from.name), from.ns.Get(network, to), fmt.Sprintf("server %d %s", i, from.as))
		}
	}
}

// Many hostPorts all work, and each goes without a trace.
func TestManyAttachments(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		before := n.Rules()
		c := newCrowd(t, n)
		ask := rand.New(rand.NewPCG(1, 1)).Perm(crowdSize)
		for _, i := range ask[:8] {
			c.pod.Serve(1000+i, fmt.Sprint("server ", i))
		}
		for _, i := range ask[:8] {
			c.works(t, i)
		}
		for i := range crowdSize {
			c.call(t, "CHECK", i, c.conf(i))
		}
		// Another pod is refused, told who has the port, and changes nothing.
		rival := n.NewPod("rival")
		rules := n.Rules()
		out, _, err := n.Call("ADD", rival, direct(n, rival, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80,"protocol":"udp"}]`, c.hostPort(3)), ""))
		if err == nil || !strings.Contains(out, "is taken") {
			t.Errorf("a port that is held: %v %s", err, out)
		}
		unchanged(t, n, rules)
		// One that is added again with other ports has these.
		moved := direct(n, c.pod, `[{"hostPort":30000,"containerPort":1000}]`, "")
		c.call(t, "ADD", 0, moved)
		c.call(t, "CHECK", 0, moved)
		mustCall(t, n, "ADD", rival, direct(n, rival, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80}]`, c.hostPort(0)), ""))
		mustCall(t, n, "DEL", rival, bare(n))
		for k, i := range rand.New(rand.NewPCG(2, 2)).Perm(crowdSize) {
			c.call(t, "DEL", i, bare(n))
			if k == crowdSize/2 {
				for _, i := range ask[:8] {
					if strings.Contains(n.Rules(), fmt.Sprintf(" net%d ", i)) && i != 0 {
						c.works(t, i)
					}
				}
			}
		}
		unchanged(t, n, before)
	})
}

// A crowd survives a wiped state directory, a lost record, a flushed chain and an ADD
// that fails in its second family.
func TestManyAttachmentsInTrouble(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		before := n.Rules()
		c := newCrowd(t, n)
		whole := n.Rules()
		pod := n.NewPod("late")
		late := direct(n, pod, `[{"hostPort":8003,"containerPort":80},{"hostPort":9003,"containerPort":80,"protocol":"udp"}]`, "")
		tool := "ip6tables-" + n.Flavour + "-restore"
		n.Shadow(tool, `case "$(cat)" in *COMMIT*) exit 1;; esac`)
		if out, _, err := n.Call("ADD", pod, late); err == nil {
			t.Errorf("ADD without IPv6: %s", out)
		}
		n.Unshadow(tool)
		unchanged(t, n, whole)
		for _, flush := range [][2]string{
			{"", "-t nat -F PORTGUARD-HOSTPORTS"}, {"6", "-t nat -F PORTGUARD-HOSTPORTS"}, {"", "-t nat -F PORTGUARD-MASQ"},
			{"", "-t nat -F POSTROUTING"}, {"", "-t nat -F"},
		} {
			n.Iptables(flush[0], flush[1])
			if out, err := n.Try("", n.Bin+"/portguard", "restore", "--data-dir", n.Dir+"/state"); err != nil {
				t.Fatalf("%s: restore: %v %s", flush[1], err, out)
			}
			for i := range crowdSize {
				c.call(t, "CHECK", i, c.conf(i))
			}
		}
		n.WipeState()
		mustCall(t, n, "ADD", pod, late)
		mustCall(t, n, "DEL", pod, bare(n))
		c.leave(t, before)
	})
}

// Conditions that iptables completes with what it knows cannot be deleted by their
// text. They stand in nobody's way, their own neither.
func TestConditionsInACrowd(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		before := n.Rules()
		c := newPlace(n)
		for i, conditions := range []string{`"-m","recent","--name","zz","--rcheck"`, `"-m","connlimit","--connlimit-above","3"`, `"-m","multiport","--dports","1:60000"`} {
			c.call(t, "ADD", i, strings.Replace(c.conf(i), `"dataDir"`, `"conditionsV4":[`+conditions+`],"dataDir"`, 1))
		}
		for i := 3; i < crowdSize; i++ {
			c.add(t, i)
		}
		c.leave(t, before)
	})
}

// A node may have addresses in more networks than one rule can compare with.
func TestManyNetworks(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		before := n.Rules()
		c, networks := newPlace(n), 0
		for _, count := range []int{5, 14, 25, 40, 70} {
			for ; networks < count; networks++ {
				n.Run("ip", "addr", "add", fmt.Sprintf("10.200.%d.1/24", networks), "dev", "eth0")
				n.Run("ip", "addr", "add", fmt.Sprintf("fd00:200:%x::1/64", networks), "dev", "eth0", "nodad")
			}
			c.add(t, 1)
			c.call(t, "CHECK", 1, c.conf(1))
			c.call(t, "DEL", 1, bare(n))
			unchanged(t, n, before)
		}
	})
}

// A record is lost: what its attachment shares with one that goes stays.
func TestALostRecordKeepsWhatIsShared(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		c := newPlace(n)
		c.add(t, 0)
		files := n.StateFiles()
		c.add(t, 1)
		n.Run("rm", files[0])
		c.call(t, "DEL", 1, bare(n))
		c.call(t, "CHECK", 0, c.conf(0))
		c.pod.Serve(1000, "server 0")
		c.works(t, 0)
	})
}

// Somebody flushes a chain of ours: the ports of those who were behind it are not free.
func TestFlushedChainsFreeNothing(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		before := n.Rules()
		c := newCrowd(t, n)
		rival := n.NewPod("rival")
		refused := func(what string) {
			t.Helper()
			for i := range 4 {
				out, _, err := n.Call("ADD", rival, direct(n, rival, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80,"hostIP":"0.0.0.0"}]`, c.hostPort(i)), ""))
				if err == nil || !strings.Contains(out, "is taken") {
					t.Errorf("%s: hostPort %d was free: %s", what, c.hostPort(i), out)
				}
			}
		}
		const chain = "PORTGUARD-HOSTPORTS"
		n.Iptables("", "-t nat -F "+chain)
		n.Iptables("6", "-t nat -F "+chain)
		refused(chain)
		for i := range 3 {
			c.call(t, "DEL", crowdSize-3*i-3, bare(n))
			refused(chain + " and a DEL")
		}
		c.leave(t, before)
	})
}

// The attachments of a crowd go where iptables cannot show their chains, and by GC.
func TestACrowdGoesUnread(t *testing.T) {
	n := newNode(t, "iptables", "nft")
	before := n.Rules()
	c := newCrowd(t, n)
	n.Feed("nft add set ip nat s '{ type inet_service; }'; nft add rule ip nat POSTROUTING tcp dport @s accept", "sh", "-e")
	for i := range crowdSize / 2 {
		c.call(t, "DEL", i, bare(n))
	}
	n.Feed("nft delete rule ip nat POSTROUTING handle $(nft -a list chain ip nat POSTROUTING | sed -n 's/.*@s.*handle //p'); nft delete set ip nat s", "sh", "-e")
	for i := range crowdSize {
		if there := strings.Contains(n.Rules(), fmt.Sprintf(" net%d ", i)); there != (i >= crowdSize/2) {
			t.Errorf("attachment %d is there: %v", i, there)
		}
	}
	valid := fmt.Sprintf(`,"cni.dev/valid-attachments":[{"containerID":%q,"ifname":"net%d"}]`, c.pod.ID, crowdSize-1)
	mustCall(t, n, "GC", c.pod, collect(n, "net", valid))
	c.call(t, "CHECK", crowdSize-1, c.conf(crowdSize-1))
	c.pod.Serve(1000+crowdSize-1, fmt.Sprint("server ", crowdSize-1))
	c.works(t, crowdSize-1)
	mustCall(t, n, "GC", c.pod, collect(n, "net", validAre()))
	unchanged(t, n, before)
}
