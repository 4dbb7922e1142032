// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/integration/lab"
)

// refused wants an ADD to fail with a code and with all the words in its
// message, and the rules to be as before.
func refused(t *testing.T, n *lab.Node, list string, code uint, words []string, ports ...lab.Port) {
	t.Helper()
	pod := n.NewPod("refused")
	defer pod.Delete()
	before := n.Rules()
	_, err := n.Add(pod, list, ports...)
	if err == nil {
		t.Errorf("ADD of %v succeeded, want a refusal", ports)
		_ = n.Del(pod, list, ports...)
		return
	}
	var ce *types.Error
	if !errors.As(err, &ce) || ce.Code != code {
		t.Errorf("ADD of %v: got %v (%#v), want code %d", ports, err, ce, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(ce.Msg, w) {
			t.Errorf("message %q does not say %q", ce.Msg, w)
		}
	}
	unchanged(t, n, before)
}

// accepted wants an ADD to succeed; it returns what went to stderr and leaves
// nothing behind.
func accepted(t *testing.T, n *lab.Node, list string, ports ...lab.Port) string {
	t.Helper()
	pod := n.NewPod("accepted")
	defer pod.Delete()
	out, err := n.Add(pod, list, ports...)
	if err != nil {
		t.Errorf("ADD of %v: %v", ports, err)
		return out
	}
	if err := n.Del(pod, list, ports...); err != nil {
		t.Errorf("DEL: %v", err)
	}
	return out
}

func TestListenerRefuses(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		accepted(t, n, list, lab.TCP(1, 1)) // creates the tables
		me := fmt.Sprintf("(pid %d", os.Getpid())
		for _, tc := range []struct {
			network, addr string
			port          lab.Port
			words         []string
		}{
			{"tcp4", "0.0.0.0:80", lab.TCP(80, 80), []string{"hostPort 80/tcp is taken", me, "0.0.0.0:80", "choose another hostPort"}},
			{"tcp4", "0.0.0.0:81", lab.TCP(81, 80).On(lab.NodeV4), []string{"192.0.2.1:81/tcp", "0.0.0.0:81"}},
			{"tcp", "[::]:82", lab.TCP(82, 80).On("0.0.0.0"), []string{"[::]:82"}},
			{"tcp4", lab.NodeV4 + ":83", lab.TCP(83, 80), []string{lab.NodeV4 + ":83"}},
			{"tcp4", lab.NodeV4 + ":84", lab.TCP(84, 80).On(lab.NodeV4), []string{lab.NodeV4 + ":84"}},
			{"tcp6", "[" + lab.NodeV6 + "]:85", lab.TCP(85, 80), []string{"[" + lab.NodeV6 + "]:85"}},
			{"tcp4", "127.0.0.1:86", lab.TCP(86, 80).On("127.0.0.1"), []string{"127.0.0.1:86"}},
			{"tcp4", "127.0.0.1:88", lab.TCP(88, 80).On(lab.NodeV4), nil},
			{"udp4", "0.0.0.0:53", lab.UDP(53, 53), []string{"hostPort 53/udp is taken", "0.0.0.0:53"}},
			{"udp", "[::]:54", lab.UDP(54, 53), []string{"[::]:54"}},
		} {
			t.Run(tc.addr+" against "+fmt.Sprint(tc.port), func(t *testing.T) {
				serve := n.ServeTCP
				if strings.HasPrefix(tc.network, "udp") {
					serve = n.ServeUDP
				}
				defer serve(tc.network, tc.addr, "host").Close()
				if tc.words == nil {
					accepted(t, n, list, tc.port)
					return
				}
				refused(t, n, list, 100, tc.words, tc.port)
				if strings.HasPrefix(tc.addr, "0.0.0.0:8") {
					want(t, "the listener after the refusal", n.Client.Who("tcp4", lab.NodeV4+tc.addr[7:]), "host")
				}
			})
		}
	})
}

// What must not be refused.
func TestNoFalseRefusal(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		n.Run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth0")
		t.Run("another protocol", func(t *testing.T) {
			defer n.ServeTCP("tcp", ":80", "host").Close()
			accepted(t, n, list, lab.UDP(80, 80))
		})
		t.Run("another address", func(t *testing.T) {
			defer n.ServeTCP("tcp4", lab.NodeV4+":80", "host").Close()
			accepted(t, n, list, lab.TCP(80, 80).On("192.0.2.9"))
		})
		t.Run("V6ONLY listener and an IPv4 mapping", func(t *testing.T) {
			defer n.ServeTCP("tcp6", "[::]:80", "host").Close()
			accepted(t, n, list, lab.TCP(80, 80).On("0.0.0.0"))
			refused(t, n, list, 100, []string{"[::]:80"}, lab.TCP(80, 80).On("::"))
		})
		t.Run("established connections and TIME_WAIT", func(t *testing.T) {
			n.Client.ServeTCP("tcp4", ":7777", "remote")
			n.Run("sh", "-c", "echo 7000 7000 >/proc/sys/net/ipv4/ip_local_port_range")
			defer n.Sysctl("net/ipv4/ip_local_port_range", "32768 60999")
			c := n.Open("tcp4", lab.ClientV4+":7777")
			accepted(t, n, list, lab.TCP(7000, 80))
			c.Close() // the server closed first or we did: one side is in TIME_WAIT
			accepted(t, n, list, lab.TCP(7000, 80))
		})
		t.Run("connected UDP", func(t *testing.T) {
			n.Sysctl("net/ipv4/ip_local_port_range", "7001 7001")
			defer n.Sysctl("net/ipv4/ip_local_port_range", "32768 60999")
			n.Open("udp4", lab.ClientV4+":7777")
			n.Sysctl("net/ipv4/ip_local_port_range", "32768 60999")
			if out := accepted(t, n, list, lab.UDP(7001, 80)); strings.Contains(out, "7001") {
				t.Errorf("a connected socket was reported: %s", out)
			}
		})
		t.Run("unconnected UDP in the ephemeral range warns", func(t *testing.T) {
			defer n.ServeUDP("udp4", ":40000", "client").Close()
			if out := accepted(t, n, list, lab.UDP(40000, 80)); !strings.Contains(out, "ip_local_port_range") {
				t.Errorf("no warning about the socket on 40000: %q", out)
			}
		})
	})
}

// A wildcard mapping leaves listeners on loopback and infrastructure addresses
// their traffic.
func TestCarveOuts(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		n.Run("ip", "link", "add", "nodelocaldns", "type", "bridge")
		n.Run("ip", "addr", "add", "169.254.20.10/32", "dev", "nodelocaldns")
		n.Run("ip", "addr", "add", "169.254.7.7/32", "dev", "eth0")
		for _, a := range []string{"127.0.0.53:53", "127.0.0.1:53", "169.254.20.10:53", "169.254.7.7:53"} {
			n.ServeUDP("udp4", a, "resolver")
			n.ServeTCP("tcp4", a, "resolver")
		}
		pod := n.NewPod("dns")
		pod.Serve(53, "pod")
		n.MustAdd(pod, list, lab.TCP(53, 53), lab.UDP(53, 53))
		want(t, "from outside", n.Client.Who("udp4", lab.NodeV4+":53"), "pod")
		for _, proto := range []string{"udp4", "tcp4"} {
			for _, a := range []string{"127.0.0.53:53", "127.0.0.1:53", "169.254.20.10:53", "169.254.7.7:53"} {
				want(t, proto+" "+a, n.Who(proto, a), "resolver")
			}
		}
		if err := n.Check(pod, list, lab.TCP(53, 53), lab.UDP(53, 53)); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		refused(t, n, list, 100, []string{"169.254.7.7:53"}, lab.UDP(53, 53).On("169.254.7.7"))
	})
}

func TestOtherPodRefuses(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		first := n.NewPod("first")
		first.Serve(80, "first")
		n.MustAdd(first, list, lab.TCP(80, 80), lab.TCP(81, 80).On(lab.NodeV4))
		refused(t, n, list, 101, []string{"hostPort 80/tcp is taken", "pod default/first"}, lab.TCP(80, 8080))
		refused(t, n, list, 101, []string{"pod default/first"}, lab.TCP(80, 80).On(lab.NodeV4))
		refused(t, n, list, 101, []string{"pod default/first"}, lab.TCP(81, 80))
		accepted(t, n, list, lab.TCP(81, 80).On("127.0.0.1"))
		accepted(t, n, list, lab.UDP(80, 80))
		want(t, "the first pod", n.Client.Who("tcp4", lab.NodeV4+":80"), "first")

		n.WipeState() // names are lost, the claim is not
		refused(t, n, list, 101, []string{first.ID[:13]}, lab.TCP(80, 80))
	})
}

func TestRulesRefuse(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		n.KubeProxy("10.88.0.200:80")
		accepted(t, n, list, lab.TCP(1, 1))
		refused(t, n, list, 102, []string{"NodePort of Service default/web:http"}, lab.TCP(30080, 80))
		refused(t, n, list, 102, []string{"NodePort of Service default/empty", "without endpoints"}, lab.TCP(30082, 80))
		accepted(t, n, list, lab.UDP(30080, 80))
		accepted(t, n, list, lab.TCP(80, 80))

		n.Foreign("", "DOCKER", "! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80")
		n.Foreign("", "DOCKER", "-d 192.0.2.9/32 ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.3:80")
		n.Foreign("", "PREROUTING", "-m addrtype --dst-type LOCAL -j DOCKER")
		refused(t, n, list, 103, []string{"docker publishes it", "172.17.0.2:80"}, lab.TCP(8080, 80))
		accepted(t, n, list, lab.TCP(8081, 80).On(lab.NodeV4))
		refused(t, n, list, 103, []string{"172.17.0.3:80"}, lab.TCP(8081, 80).On("192.0.2.9"))

		n.Foreign("", "OUTPUT", "-p tcp -m tcp --dport 9000:9010 -j REDIRECT --to-ports 22")
		refused(t, n, list, 103, []string{"REDIRECT", "9000:9010"}, lab.TCP(9005, 80))
		n.Foreign("6", "PREROUTING", "-p udp -m multiport --dports 5000,6000 -j DNAT --to-destination [fd00::1]:53")
		refused(t, n, list, 103, []string{"[fd00::1]:53", "IPv6"}, lab.UDP(6000, 80))
		accepted(t, n, list, lab.UDP(6000, 80).On("0.0.0.0"))

		n.Foreign("", "PREROUTING", "-p tcp -m tcp --dport 7000 -m mark --mark 0x1 -j DNAT --to-destination 10.9.9.9:1")
		refused(t, n, list, 104, []string{"mark that no rule sets", "--dport 7000"}, lab.TCP(7000, 80))
		n.Foreign("", "PREROUTING", "-i eth0 -p sctp -m mark --mark 0x2 -j DNAT --to-destination 10.9.9.9")
		out := accepted(t, n, list, lab.Port{HostPort: 7000, ContainerPort: 80, Protocol: "SCTP"})
		if !strings.Contains(out, "rule without a port") {
			t.Errorf("no warning about the catch-all rule: %q", out)
		}

		n.Iptables("", "-t nat -I PREROUTING -p tcp -m tcp --dport 7100 -j ACCEPT")
		if n.Native() { // an ACCEPT ends the walk of its own table only
			accepted(t, n, list, lab.TCP(7100, 80))
			return
		}
		refused(t, n, list, 105, []string{"would not work", "--dport 7100 -j ACCEPT"}, lab.TCP(7100, 80))
	})
}

// Rules in the flavour that is not the node's own count as well.
func TestRulesOfTheOtherFlavour(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		other := map[string]string{"nft": "legacy", "legacy": "nft"}[n.Flavour]
		n.Run("iptables-"+other, "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to-destination", "10.9.9.9:80")
		list := n.Network("net", "46", nil)
		refused(t, n, list, 103, []string{"iptables-" + other}, lab.TCP(8080, 80))
		accepted(t, n, list, lab.TCP(8081, 80))
	})
}

// The flavour that holds kube-proxy's rules is used, whatever plain iptables is.
func TestFollowsKubeProxy(t *testing.T) {
	onFlavours(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "4", nil)
		n.KubeProxy("10.88.0.200:80")
		other := map[string]string{"nft": "legacy", "legacy": "nft"}[n.Flavour]
		env := n.Env
		n.Env = append(os.Environ(), "PATH="+flavourDir(t, other)+":"+os.Getenv("PATH"))
		pod := n.NewPod("web")
		n.MustAdd(pod, list, lab.TCP(80, 80))
		n.Env = env
		if dump := n.Run("iptables-" + n.Flavour + "-save"); !strings.Contains(dump, "PORTGUARD-HOSTPORTS") {
			t.Errorf("the rules are not where kube-proxy's are")
		}
		if err := n.Del(pod, list, lab.TCP(80, 80)); err != nil {
			t.Error(err)
		}
		if rules := n.Rules(); strings.Contains(rules, "portguard") {
			t.Errorf("rules left:\n%s", rules)
		}
	})
}

// flavourDir makes a directory in which iptables is of that flavour.
func flavourDir(t *testing.T, flavour string) string {
	t.Helper()
	dir := t.TempDir()
	for _, cmd := range []string{"iptables", "ip6tables"} {
		p, err := exec.LookPath(cmd + "-" + flavour)
		if err == nil {
			err = os.Symlink(p, filepath.Join(dir, cmd))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Mappings of portmap's iptables backend are seen.
func TestPortmapRefuses(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		old := n.Network("old", "46", lab.Conf{"type": "portmap", "backend": "iptables"})
		pod := n.NewPod("old")
		n.MustAdd(pod, old, lab.TCP(8080, 80))
		refused(t, n, n.Network("net", "46", nil), 103, []string{"portmap has it", "network old", pod.ID[:13]}, lab.TCP(8080, 80))
	})
}

// Sockets without a process are tunnels' and the like, and no clients'; the same goes for
// ports that somebody has reserved.
func TestKernelSocketsRefuse(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	list := n.Network("net", "4", nil)
	n.Run("ip", "link", "add", "flannel.1", "type", "vxlan", "id", "1", "dstport", "51820", "dev", "eth0")
	n.Run("ip", "link", "set", "flannel.1", "up")
	refused(t, n, list, 100, []string{"hostPort 51820/udp is taken: the kernel's own vxlan flannel.1 listens on 0.0.0.0:51820; give that link another port"}, lab.UDP(51820, 53))
	n.Run("ip", "link", "del", "flannel.1")
	accepted(t, n, list, lab.UDP(51820, 53))
	defer n.ServeUDP("udp4", "0.0.0.0:51821", "host").Close()
	client := n.NewPod("client")
	if _, err := n.Add(client, list, lab.UDP(51821, 53)); err != nil {
		t.Errorf("a port that may be a client's: %v", err)
	}
	if err := n.Del(client, list); err != nil {
		t.Fatal(err)
	}
	n.Sysctl("net/ipv4/ip_local_reserved_ports", "51821-51823")
	refused(t, n, list, 100, []string{"hostPort 51821/udp is taken"}, lab.UDP(51821, 53))
}
