// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
)

// On all addresses that a mapping captures a bind is refused as the kernel does it where
// somebody has a socket there.
func TestReservedAsSocketsAre(t *testing.T) {
	t.Parallel()
	pods, sockets := newNode(t, "", "nft"), newNode(t, "", "nft")
	const second4, second6 = "192.0.2.9", "2001:db8:2::9"
	for _, n := range []*lab.Node{pods, sockets} {
		n.Run("sh", "-ec", "ip link set lo up; ip addr add "+second4+"/24 dev eth0; ip addr add "+second6+"/64 dev eth0 nodad")
	}
	pod, list := pods.NewPod("web"), pods.Network("net", "46", nil)
	var mappings []lab.Port
	var ports []int
	for i, held := range []struct {
		hostIP string
		as     lab.Socket
	}{
		{"", lab.Socket{Network: "tcp6"}},
		{"0.0.0.0", lab.Socket{Network: "tcp4"}},
		{"::", lab.Socket{Network: "tcp6", V6Only: true}},
		{lab.NodeV4, lab.Socket{Network: "tcp4", Addr: lab.NodeV4}},
		{lab.NodeV6, lab.Socket{Network: "tcp6", Addr: lab.NodeV6}},
	} {
		port := 8080 + i
		mappings = append(mappings, lab.TCP(port, 80).On(held.hostIP), lab.UDP(port, 80).On(held.hostIP))
		ports = append(ports, port)
		for _, proto := range []string{"tcp", "udp"} {
			held.as.Network = proto + held.as.Network[3:]
			keep(t, sockets, held.as, port)
		}
	}
	pods.MustAdd(pod, list, mappings...)
	for _, network := range []string{"tcp4", "udp4", "tcp6", "udp6"} {
		addrs := []string{"", lab.NodeV4, second4, "127.0.0.1"}
		if strings.HasSuffix(network, "6") {
			addrs = []string{"", lab.NodeV6, second6, "::ffff:0.0.0.0", "::ffff:" + lab.NodeV4, "::ffff:" + second4, "::ffff:127.0.0.1"}
		}
		for _, addr := range addrs {
			for i := range 4 {
				s := lab.Socket{Network: network, Addr: addr, Reuse: i%2 == 1, V6Only: i/2 == 1 && network[3] == '6' && addr == ""}
				if got, want := refusedAt(t, pods.Netns, s, ports), refusedAt(t, sockets.Netns, s, ports); !slices.Equal(got, want) || len(want) == 0 {
					t.Errorf("%+v is refused on %v, and beside sockets on %v", s, got, want)
				}
			}
		}
	}
}

// keep has a socket on a port until the test ends.
func keep(t *testing.T, n *lab.Node, s lab.Socket, port int) {
	t.Helper()
	var fd int
	var err error
	n.Do(func() {
		if fd, err = s.Open(); err == nil {
			err = s.Bind(fd, port)
		}
		if err == nil && s.Network[:3] == "tcp" {
			err = unix.Listen(fd, 1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
}
