// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/hostport"
)

// Who waits in the pod, explain says, with each protocol and family, and traffic says the same.
// It is no matter of the node: list and doctor say nothing.
func TestUnheardIsTrue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		serve func(*lab.Pod)
		// heard is who is heard: IPv4, IPv6, by TCP, UDP. Says is said to the others.
		heard [2][2]bool
		says  string
	}{
		{"nobody", func(*lab.Pod) {}, [2][2]bool{}, "nothing listens on 80/PROTO in the pod"},
		{"both", func(p *lab.Pod) { p.Serve(80, "web") }, [2][2]bool{{true, true}, {true, true}}, ""},
		{"TCP", func(p *lab.Pod) { p.ServeTCP("tcp", ":80", "web") }, [2][2]bool{{true, false}, {true, false}}, "nothing listens on 80/udp in the pod"},
		{"another port", func(p *lab.Pod) { p.Serve(8080, "web") }, [2][2]bool{}, "nothing listens on 80/PROTO in the pod"},
		{"only itself", func(p *lab.Pod) { p.ServeTCP("tcp4", "127.0.0.1:80", "web"); p.ServeUDP("udp4", "127.0.0.1:80", "web") }, [2][2]bool{}, "in the pod 80/PROTO is listened on at 127.0.0.1 only"},
		{"IPv4", func(p *lab.Pod) { p.ServeTCP("tcp4", ":80", "web"); p.ServeUDP("udp4", ":80", "web") }, [2][2]bool{{true, true}, {false, false}}, "in the pod 80/PROTO is listened on at 0.0.0.0 only"},
		{"IPv6", func(p *lab.Pod) { p.ServeTCP("tcp6", "[::]:80", "web"); p.ServeUDP("udp6", "[::]:80", "web") }, [2][2]bool{{false, false}, {true, true}}, "in the pod 80/PROTO is listened on at :: only"},
		{"its address", func(p *lab.Pod) { p.ServeTCP("tcp4", p.V4+":80", "web"); p.ServeUDP("udp4", p.V4+":80", "web") }, [2][2]bool{{true, true}, {false, false}}, "in the pod 80/PROTO is listened on at 10.88.0.2 only"},
		{"a proxy in the pod", func(p *lab.Pod) {
			p.ServeTCP("tcp", ":15006", "web")
			p.Feed("table inet mesh { chain in { type nat hook prerouting priority -100; tcp dport 80 redirect to :15006; }; }", "nft", "-f", "-")
		}, [2][2]bool{{true, false}, {true, false}}, "nothing listens on 80/PROTO in the pod, unless its own rules lead it elsewhere"},
		{"a program in the pod", func(p *lab.Pod) { p.Steer("web", 80, 0) }, [2][2]bool{{true, false}, {false, false}}, "nothing listens on 80/PROTO in the pod, unless its own rules lead it elsewhere"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := lab.NewNode(t, bin, "nft")
			inMemory(t, n)
			list := n.Network("net", "46", nil)
			confDir(t, n, list)
			web := n.NewPod("web")
			n.MustAdd(web, list, lab.TCP(8080, 80), lab.UDP(8080, 80))
			tt.serve(web)
			silent(t, n)
			for f, addr := range []string{lab.NodeV4, "[" + lab.NodeV6 + "]"} {
				for i, proto := range []hostport.Proto{hostport.TCP, hostport.UDP} {
					a := ask(t, n, fmt.Sprintf("%s:8080/%s", addr, proto))
					want(t, "traffic", n.Client.Who(proto.String(), addr+":8080"), map[bool]string{true: "web"}[tt.heard[f][i]])
					for _, o := range append(a.Outside, a.Localhost...) {
						heard := o.Unheard == "" || strings.Contains(o.Unheard, "unless its own rules") && tt.heard[f][i]
						if heard != tt.heard[f][i] || o.Kind != "hostPort" || !heard && (o.Unheard != strings.ReplaceAll(tt.says, "PROTO", proto.String()) || o.Remedy == "") {
							t.Errorf("%s %s: explain says %+v", addr, proto, o)
						}
					}
				}
			}
		})
	}
}

// A pod that is not made as the bridge plugin makes them, of which nothing is wrong.
type oddity struct {
	name string
	// node and pod are commands; the link is pod0 on the node, eth0 in the pod.
	node, pod string
	// unheard is set if explain cannot know who listens, or nobody does, serves if traffic gets there.
	serves bool
}

// Pods as Calico, AWS and others make them, and guests that take the packets before the pod's
// kernel does, are no news for doctor.
func TestOddPodsAreSilent(t *testing.T) {
	t.Parallel()
	const routed = "ip addr add 10.88.0.77/32 dev eth0; ip -6 addr add fd00:88::77/128 dev eth0 nodad; ip link set eth0 up; "
	for _, o := range []oddity{
		{"Calico's", "sysctl -qw net.ipv4.conf.pod0.proxy_arp=1 net.ipv4.neigh.pod0.proxy_delay=0 net.ipv6.conf.pod0.proxy_ndp=1; ip route add default via 192.0.2.2",
			routed + "ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1 dev eth0; ip -6 route add default via fe80::1 dev eth0", true},
		{"with a neighbour by hand", "true", routed + "ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1 dev eth0; ip neigh add 169.254.1.1 dev eth0 lladdr MAC nud permanent; ip -6 route add default via fe80::1 dev eth0", true},
		{"with a route to a link", "sysctl -qw net.ipv4.conf.pod0.proxy_arp=1 net.ipv4.neigh.pod0.proxy_delay=0; ip route add default via 192.0.2.2", routed + "ip route add default dev eth0; ip -6 route add default via fe80::1 dev eth0", true},
		{"with a second link that is down", "true", routed + "ip link add net1 type veth peer name net2; ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1 dev eth0; ip neigh add 169.254.1.1 dev eth0 lladdr MAC nud permanent; ip -6 route add default via fe80::1 dev eth0", true},
		{"of a stack in a process", "true", "ip link set eth0 up", false},
		{"of a guest with a tap", "true", "ip tuntap add tap0 mode tap; ip link set eth0 up; ip link set tap0 up", false},
		{"of a guest behind a filter", "true", "ip link set eth0 up; tc qdisc add dev eth0 clsact", false},
		{"of a guest on a bridge", "true", "ip link add br0 type bridge; ip link set eth0 up master br0; ip link set br0 up", false},
	} {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			n := lab.NewNode(t, bin, "nft")
			inMemory(t, n)
			confDir(t, n, n.Network("net", "46", nil))
			web := n.NewPod("web")
			link(n, web)
			n.Run("sh", "-ec", "ip addr add fe80::1/64 dev pod0 nodad; "+o.node)
			web.Run("sh", "-ec", strings.ReplaceAll(o.pod, "MAC", strings.Fields(n.Run("ip", "-br", "link", "show", "pod0"))[2]))
			if strings.Contains(o.name, "stack") {
				raw(t, web)
			}
			if o.serves {
				web.Serve(80, "web")
			}
			mustCall(t, n, "ADD", web, direct(n, web, mapping, ""))
			silent(t, n)
			for _, addr := range []string{lab.NodeV4, "[" + lab.NodeV6 + "]"} {
				a := ask(t, n, addr+":8080/tcp")
				for _, out := range append(a.Outside, a.Localhost...) {
					if out.Closed != "" || out.Unheard != "" {
						t.Errorf("explain says %+v", out)
					}
				}
				want(t, "traffic to "+addr, n.Client.Who("tcp", addr+":8080"), map[bool]string{true: "web"}[o.serves])
			}
		})
	}
}

// raw takes the packets off a pod's links, as the stack of gVisor does.
func raw(t *testing.T, p *lab.Pod) {
	t.Helper()
	p.Do(func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
	})
}

// A pod whose network namespace cannot be entered is not known, and no fault is found in it; one
// that has another in the place of its own is found elsewhere.
func TestPodThatIsNotSeen(t *testing.T) {
	t.Parallel()
	n, web := serving(t, nil, lab.TCP(8080, 80))
	runs(t, web)
	web.Run("ip", "route", "del", "default")
	other := n.NewPod("other")
	exe := []string{filepath.Join(n.Bin, "portguard"), "explain", lab.NodeV4 + ":8080/tcp", "--conf-dir", n.Dir + "/net.d", "--cache-dir", n.Dir + "/cache"}
	for name, tt := range map[string]struct {
		words []string
		seen  bool
	}{
		"as ever":               {nil, true},
		"its mount is gone":     {from(web, false), true},
		"nor its processes":     {from(web, true), false},
		"another is there":      {[]string{"unshare", "-m", "sh", "-ec", `mount --make-rprivate /; umount -l ` + web.Path + `; mount --bind ` + other.Path + " " + web.Path + `; exec "$0" "$@"`}, true},
		"something else is":     {[]string{"unshare", "-m", "sh", "-ec", `mount --make-rprivate /; umount -l ` + web.Path + `; mount --bind /etc/hostname ` + web.Path + `; exec "$0" "$@"`}, true},
		"without CAP_SYS_ADMIN": {[]string{"setpriv", "--bounding-set", "-sys_admin"}, false},
	} {
		out, _ := n.Try("", append(slices.Clone(tt.words), exe...)...)
		if !strings.Contains(out, "pod default/web") || strings.Contains(out, "the pod has no route to") != tt.seen || strings.Contains(out, "no link") || strings.Contains(out, "operation not permitted") {
			t.Errorf("%s: %s", name, out)
		}
	}
}
