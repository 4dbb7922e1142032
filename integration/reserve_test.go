// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
)

// refusedAt lists the ports that a bind is refused for, as one of a listener would be.
func refusedAt(t *testing.T, ns *lab.Netns, s lab.Socket, ports []int) (out []int) {
	t.Helper()
	for _, p := range ports {
		switch err := ns.Bind(s, p); {
		case errors.Is(err, unix.EADDRINUSE):
			out = append(out, p)
		case err != nil:
			t.Errorf("%+v, port %d: %v", s, p, err)
		}
	}
	return out
}

// Ports of the mappings of TestReservedBinds.
const (
	onAll = 8080 + iota
	onAll4
	onAll6
	onOne4
	onOne6
	notLocalhost
	excluding
	carved
	free
)

// A bind is refused exactly where its packets would go to the pod.
func TestReservedBinds(t *testing.T) {
	t.Parallel()
	n := newNode(t, "", "nft")
	before := n.Rules()
	n.Run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth0")
	n.Run("ip", "addr", "add", "169.254.7.7/16", "dev", "eth0")
	n.Run("ip", "link", "add", "nodelocaldns", "type", "bridge")
	n.Run("ip", "addr", "add", "169.254.20.10/32", "dev", "nodelocaldns")
	n.Run("ip", "link", "set", "nodelocaldns", "up")
	holder := n.ServeTCP("tcp4", fmt.Sprintf("127.0.0.1:%d", carved), "carved")
	udpHolder := n.ServeUDP("udp4", fmt.Sprintf("127.0.0.1:%d", carved), "carved")

	both := func(port int, ip string) []lab.Port {
		return []lab.Port{lab.TCP(port, 80).On(ip), lab.UDP(port, 80).On(ip)}
	}
	pods := map[*lab.Pod]string{}
	var web *lab.Pod
	for name, tt := range map[string]struct {
		conf  lab.Conf
		ports []lab.Port
	}{
		"web": {nil, slices.Concat(both(onAll, ""), both(onAll4, "0.0.0.0"), both(onAll6, "::"), both(onOne4, lab.NodeV4), both(onOne6, lab.NodeV6), both(carved, ""))},
		"off": {lab.Conf{"localhost": false}, both(notLocalhost, "")},
		"ex":  {lab.Conf{"excludeCIDRs": []string{"192.0.2.8/30", "2001:db8:2::1/128"}}, both(excluding, "")},
	} {
		p := n.NewPod(name)
		pods[p] = n.Network("net", "46", tt.conf)
		n.MustAdd(p, pods[p], tt.ports...)
		if err := n.Check(p, pods[p], tt.ports...); err != nil {
			t.Errorf("CHECK of %s: %v", name, err)
		}
		if name == "web" {
			web = p
		}
	}
	holder.Close()
	udpHolder.Close()

	var all []int
	for p := onAll; p <= free; p++ {
		all = append(all, p)
	}
	any4 := []int{onAll, onAll4, onOne4, notLocalhost, excluding, carved}
	any6 := []int{onAll, onAll6, onOne6, notLocalhost, excluding, carved}
	both46 := []int{onAll, onAll4, onAll6, onOne4, onOne6, notLocalhost, excluding, carved}
	node4 := []int{onAll, onAll4, onOne4, notLocalhost, excluding, carved}
	for _, tt := range []struct {
		socket lab.Socket
		want   []int
	}{
		{lab.Socket{Network: "tcp4"}, any4},
		{lab.Socket{Network: "tcp4", Reuse: true}, any4},
		{lab.Socket{Network: "tcp4", Device: "lo"}, any4},
		{lab.Socket{Network: "tcp4", Addr: lab.NodeV4}, node4},
		{lab.Socket{Network: "tcp4", Addr: lab.NodeV4, Reuse: true}, node4},
		{lab.Socket{Network: "tcp4", Addr: "192.0.2.9"}, []int{onAll, onAll4, notLocalhost, carved}},
		{lab.Socket{Network: "tcp4", Addr: "169.254.7.7"}, []int{onAll, onAll4, notLocalhost, excluding, carved}},
		{lab.Socket{Network: "tcp4", Addr: "169.254.20.10"}, nil}, // of infrastructure
		{lab.Socket{Network: "tcp4", Addr: "127.0.0.1"}, []int{onAll, onAll4, excluding}},
		{lab.Socket{Network: "tcp4", Addr: "127.0.0.2"}, nil},
		{lab.Socket{Network: "udp4", Addr: "224.0.0.251"}, nil},
		{lab.Socket{Network: "udp4", Addr: "192.0.2.255"}, nil}, // broadcast
		{lab.Socket{Network: "udp4", Addr: "255.255.255.255"}, nil},
		{lab.Socket{Network: "tcp6"}, both46},
		{lab.Socket{Network: "tcp6", Reuse: true}, both46},
		{lab.Socket{Network: "tcp6", V6Only: true}, any6},
		{lab.Socket{Network: "tcp6", Addr: "::ffff:0.0.0.0"}, any4},
		{lab.Socket{Network: "tcp6", Addr: "::ffff:" + lab.NodeV4}, node4},
		{lab.Socket{Network: "tcp6", Addr: "::ffff:127.0.0.1"}, []int{onAll, onAll4, excluding}},
		{lab.Socket{Network: "tcp6", Addr: "::1"}, nil},
		{lab.Socket{Network: "tcp6", Addr: lab.NodeV6}, []int{onAll, onAll6, onOne6, notLocalhost, carved}},
		{lab.Socket{Network: "tcp6", Addr: "fe80::1%eth0"}, nil},
		{lab.Socket{Network: "udp6", Addr: "ff02::fb%eth0"}, nil},
		{lab.Socket{Network: "mptcp4"}, any4},
		{lab.Socket{Network: "mptcp6"}, both46},
		{lab.Socket{Network: "mptcp6", V6Only: true}, any6},
		{lab.Socket{Network: "mptcp4", Addr: "127.0.0.1"}, []int{onAll, onAll4, excluding}},
	} {
		if strings.HasPrefix(tt.socket.Addr, "fe80") {
			n.Run("ip", "addr", "replace", "fe80::1/64", "dev", "eth0", "nodad")
		}
		if strings.HasPrefix(tt.socket.Network, "mptcp") {
			if _, err := os.Stat("/proc/sys/net/mptcp"); err != nil {
				continue // not in this kernel
			}
		}
		sockets := []lab.Socket{tt.socket}
		if name, ok := strings.CutPrefix(tt.socket.Network, "tcp"); ok {
			tt.socket.Network = "udp" + name
			sockets = append(sockets, tt.socket)
		}
		for _, s := range sockets {
			if got := refusedAt(t, n.Netns, s, all); !slices.Equal(got, tt.want) {
				t.Errorf("%+v is refused on %v, want %v", s, got, tt.want)
			}
			if s.Addr == "" {
				for _, other := range []*lab.Netns{web.Netns, n.Client} {
					if got := refusedAt(t, other, s, all); got != nil {
						t.Errorf("%+v is refused in another namespace on %v", s, got)
					}
				}
			}
		}
	}
	for p, list := range pods {
		if err := n.Del(p, list); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []lab.Socket{{Network: "tcp6"}, {Network: "udp6"}, {Network: "tcp4"}} {
		if got := refusedAt(t, n.Netns, s, all); got != nil {
			t.Errorf("%+v is refused after DEL on %v", s, got)
		}
	}
	unchanged(t, n, before)
}

// It is the namespace of the socket that counts, not that of who binds it.
func TestReservedAcrossNamespaces(t *testing.T) {
	t.Parallel()
	n := newNode(t, "", "nft")
	list := n.Network("net", "4", nil)
	pod := n.NewPod("web")
	n.MustAdd(pod, list, lab.TCP(8080, 80))
	s := lab.Socket{Network: "tcp4"}
	for _, tt := range []struct {
		made, bound *lab.Netns
		want        error
	}{{n.Netns, pod.Netns, unix.EADDRINUSE}, {pod.Netns, n.Netns, nil}} {
		var fd int
		var err error
		tt.made.Do(func() { fd, err = s.Open() })
		if err != nil {
			t.Fatal(err)
		}
		tt.bound.Do(func() { err = s.Bind(fd, 8080) })
		unix.Close(fd)
		if !errors.Is(err, tt.want) {
			t.Errorf("made in %s, bound in %s: %v, want %v", tt.made.Name, tt.bound.Name, err, tt.want)
		}
	}
}

// The kernel's own sockets are bound too.
func TestReservedFromTunnels(t *testing.T) {
	t.Parallel()
	n := newNode(t, "", "nft")
	list := n.Network("net", "4", nil)
	pod := n.NewPod("web")
	n.MustAdd(pod, list, lab.UDP(8472, 80))
	n.Run("ip", "link", "add", "vx0", "type", "vxlan", "id", "1", "dstport", "8472", "local", lab.NodeV4)
	if out, err := n.Try("", "ip", "link", "set", "vx0", "up"); err == nil || !strings.Contains(out, "Address already in use") {
		t.Errorf("a tunnel on the port: %v %s", err, out)
	}
	if err := n.Del(pod, list); err != nil {
		t.Fatal(err)
	}
	n.Run("ip", "link", "set", "vx0", "up")
	if _, err := n.Add(pod, list, lab.UDP(8472, 80)); err == nil || !strings.Contains(err.Error(), "vxlan vx0") {
		t.Errorf("ADD beside the tunnel: %v", err)
	}
}

// Who asks for any port never gets one that is held, and never fails for it.
func TestReservedFromAutomaticChoice(t *testing.T) {
	t.Parallel()
	n := newNode(t, "", "nft")
	n.Sysctl("net/ipv4/ip_local_port_range", "40000 40003")
	n.Sysctl("net/ipv4/ip_local_reserved_ports", "8080,40003,50000-50010")
	const reserved = "net/ipv4/ip_local_reserved_ports"
	list := n.Network("net", "46", nil)
	pod := n.NewPod("web")
	ports := []lab.Port{lab.TCP(40001, 80), lab.UDP(40001, 80), lab.TCP(40003, 80), lab.TCP(9000, 80)}
	before := n.Rules()
	n.MustAdd(pod, list, ports...)
	want(t, "while it is held", n.ReadSysctl(reserved), "8080,40001,40003,50000-50010")
	for _, s := range []lab.Socket{{Network: "tcp4"}, {Network: "udp4"}, {Network: "tcp6"}, {Network: "udp6"}} {
		for range 40 {
			port, err := automatic(n.Netns, s)
			if err != nil || port == 40001 {
				t.Fatalf("%+v: port %d, %v", s, port, err)
			}
		}
	}
	n.Sysctl(reserved, "8080,40003,50000-50020") // as "sysctl --system" does
	if err := n.Check(pod, list, ports...); err == nil || !strings.Contains(err.Error(), "ip_local_reserved_ports") {
		t.Errorf("CHECK without the port: %v", err)
	}
	confDir(t, n, list)
	if out, err := cli(n, "restore"); err != nil || !strings.Contains(out, "restored pod default/web") {
		t.Errorf("restore: %v %s", err, out)
	}
	want(t, "after restore", n.ReadSysctl(reserved), "8080,40001,40003,50000-50020")
	if err := n.Del(pod, list, ports...); err != nil {
		t.Fatal(err)
	}
	want(t, "after DEL", n.ReadSysctl(reserved), "8080,40003,50000-50020")
	unchanged(t, n, before)
}

// automatic has the kernel choose a port, by bind and by listen.
func automatic(ns *lab.Netns, s lab.Socket) (port int, err error) {
	ns.Do(func() {
		var fd int
		if fd, err = s.Open(); err != nil {
			return
		}
		defer unix.Close(fd)
		if s.Network[:3] == "tcp" {
			err = unix.Listen(fd, 1)
		} else {
			err = s.Bind(fd, 0)
		}
		if err != nil {
			return
		}
		var name unix.Sockaddr
		name, err = unix.Getsockname(fd)
		switch a := name.(type) {
		case *unix.SockaddrInet4:
			port = a.Port
		case *unix.SockaddrInet6:
			port = a.Port
		}
	})
	return port, err
}

// A socket on all addresses that is bound to one link is refused where a hostIP is an address
// that comes in by that.
func TestReservedOnLinks(t *testing.T) {
	t.Parallel()
	n := newNode(t, "", "nft")
	n.Run("sh", "-ec", `for l in one two; do ip link add $l type veth peer name p$l; ip link set $l up; done
		ip link add br0 type bridge; ip link set br0 up
		ip addr add 203.0.113.1/32 dev one; ip addr add 2001:db8:9::1/128 dev one nodad; ip addr add 203.0.113.9/32 dev lo`)
	list := n.Network("net", "46", nil)
	pod, lost, other := n.NewPod("web"), n.NewPod("lost"), n.NewPod("other")
	on := func(ip string) []lab.Port { return []lab.Port{lab.TCP(8080, 80).On(ip), lab.UDP(8080, 80).On(ip)} }
	n.MustAdd(pod, list, slices.Concat(on("203.0.113.1"), on("2001:db8:9::1"))...)
	n.MustAdd(lost, list, lab.TCP(8081, 80).On("203.0.113.9"), lab.TCP(8082, 80).On("203.0.113.77")) // on no link that packets come in by
	links := []string{"", "lo", "one", "two", "br0"}
	refusedOn := func(s lab.Socket, port int) (out []string) {
		for _, s.Device = range links {
			if len(refusedAt(t, n.Netns, s, []int{port})) > 0 {
				out = append(out, s.Device)
			}
		}
		return out
	}
	for _, s := range []lab.Socket{{Network: "tcp4"}, {Network: "udp4"}, {Network: "tcp6"}, {Network: "udp6"}, {Network: "tcp6", V6Only: true}} {
		if got := refusedOn(s, 8080); !slices.Equal(got, []string{"", "lo", "one"}) {
			t.Errorf("%+v is refused on links %q", s, got)
		}
	}
	for _, port := range []int{8081, 8082} {
		if got := refusedOn(lab.Socket{Network: "tcp4"}, port); !slices.Equal(got, links) {
			t.Errorf("%d is refused on links %q", port, got)
		}
	}
	// The next call of anybody follows the addresses.
	n.Run("sh", "-ec", "ip addr del 203.0.113.1/32 dev one; ip addr add 203.0.113.1/32 dev two; ip link set two master br0")
	n.MustAdd(other, list, lab.TCP(81, 80))
	if got := refusedOn(lab.Socket{Network: "tcp4"}, 8080); !slices.Equal(got, []string{"", "lo", "two", "br0"}) {
		t.Errorf("refused on links %q after a move", got)
	}
	for _, p := range []*lab.Pod{pod, lost, other} {
		must(t, n.Del(p, list))
	}
	if got := refusedOn(lab.Socket{Network: "tcp6"}, 8080); got != nil || n.Held() != "" {
		t.Errorf("refused on links %q after DEL:\n%s", got, n.Held())
	}
}
