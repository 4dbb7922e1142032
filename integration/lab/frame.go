// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// MAC is the hardware address of a link.
func (n *Netns) MAC(link string) net.HardwareAddr {
	n.T.Helper()
	var l *net.Interface
	var err error
	n.Do(func() { l, err = net.InterfaceByName(link) })
	if err != nil {
		n.T.Fatalf("%s: %s: %v", n.Name, link, err)
	}
	return l.HardwareAddr
}

// SendFrame sends a UDP datagram of IPv6 by eth0 to a hardware address, with whatever
// addresses: no routing is asked.
func (n *Netns) SendFrame(mac net.HardwareAddr, from, to netip.AddrPort) {
	n.T.Helper()
	var err error
	n.Do(func() { err = sendFrame(mac, datagram(from, to)) })
	if err != nil {
		n.T.Fatalf("%s: frame from %s to %s: %v", n.Name, from, to, err)
	}
}

func sendFrame(mac net.HardwareAddr, packet []byte) error {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	const proto = unix.ETH_P_IPV6>>8 | unix.ETH_P_IPV6&0xff<<8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Index, Halen: uint8(len(mac))}
	copy(to.Addr[:], mac)
	return unix.Sendto(fd, packet, 0, to)
}

// datagram is an IPv6 packet with a UDP datagram (RFC 8200 for the checksum).
func datagram(from, to netip.AddrPort) []byte {
	src, dst, data := from.Addr().As16(), to.Addr().As16(), []byte("frame.")
	var udp []byte
	for _, v := range []uint16{from.Port(), to.Port(), uint16(8 + len(data)), 0} {
		udp = binary.BigEndian.AppendUint16(udp, v)
	}
	udp = append(udp, data...)
	sum := uint32(len(udp)) + unix.IPPROTO_UDP
	for b := range slices.Chunk(slices.Concat(src[:], dst[:], udp), 2) {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(udp[6:], ^uint16(sum))
	head := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(udp)))
	return slices.Concat(head, []byte{unix.IPPROTO_UDP, 64}, src[:], dst[:], udp)
}
