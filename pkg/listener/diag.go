// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
)

// Values of the kernel's include/uapi/linux/inet_diag.h and net/tcp_states.h.
const (
	diagReqLen       = 56  // struct inet_diag_req_v2
	diagMsgLen       = 72  // struct inet_diag_msg
	attrV6Only       = 11  // INET_DIAG_SKV6ONLY
	attrLocals       = 12  // INET_DIAG_LOCALS: all addresses of an SCTP endpoint
	sockaddrLen      = 128 // struct sockaddr_storage
	stateEstablished = 1   // a connected UDP socket
	stateClose       = 7   // an unconnected UDP socket
	stateListen      = 10  // TCP, SCTP endpoints
	// A TCP socket that is bound and does not listen yet, nor has a connection
	// (TCP_BOUND_INACTIVE, Linux 6.8); older kernels show none. It is stateClose in answers.
	stateBound = 13
)

// waiting is the state of a socket that receives what nobody has a connection
// for.
func waiting(proto hostport.Proto) uint8 {
	if proto == hostport.UDP {
		return stateClose
	}
	return stateListen
}

// diagRequest asks for the sockets of one family and protocol that are in a
// state on port, 0 for all ports. State and port are compared in the kernel,
// which then never walks the table of established connections.
func diagRequest(family uint8, proto hostport.Proto, state uint8, port uint16) []byte {
	b := make([]byte, diagReqLen)
	b[0], b[1] = family, uint8(proto)
	binary.NativeEndian.PutUint32(b[4:], 1<<state)
	binary.BigEndian.PutUint16(b[8:], port)
	for i := 48; i < 56; i++ {
		b[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return b
}

// dump asks for the sockets that wait on a port.
func dump(family uint8, proto hostport.Proto, port uint16) ([]hostport.Listener, error) {
	return inState(family, proto, waiting(proto), port)
}

// dumpBound asks for the TCP sockets that are bound to a port and do not listen yet. The kernel
// walks its whole table of bound ports, which takes milliseconds.
func dumpBound(family uint8, port uint16) ([]hostport.Listener, error) {
	return inState(family, hostport.TCP, stateBound, port)
}

func inState(family uint8, proto hostport.Proto, state uint8, port uint16) ([]hostport.Listener, error) {
	msgs, err := ask(diagRequest(family, proto, state, port))
	if err != nil {
		return nil, fmt.Errorf("sock_diag %s: %w", proto, err)
	}
	var out []hostport.Listener
	for _, m := range msgs {
		ls, err := decodeDiag(proto, m)
		if err != nil {
			return nil, err
		}
		out = append(out, ls...)
	}
	return out, nil
}

// deviceNumber stands for the name of a link that a socket is bound to.
func deviceNumber(index uint32) string { return fmt.Sprintf("%d", index) }

// ask sends a request. A missing handler (no tcp_diag module) is reported inside
// NLMSG_DONE, which nl.Execute turns into an errno.
func ask(request []byte) ([][]byte, error) {
	return host.Complete(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddRawData(request)
		return req.Execute(unix.NETLINK_INET_DIAG, 0)
	})
}

// dumpFlows asks for the connected UDP sockets on a local port, 0 for all. Sockets of IPv6
// may have peers of IPv4.
func dumpFlows(family uint8, port uint16) ([]hostport.Flow, error) {
	msgs, err := ask(diagRequest(family, hostport.UDP, stateEstablished, port))
	if err != nil {
		return nil, fmt.Errorf("sock_diag %s: %w", hostport.UDP, err)
	}
	var out []hostport.Flow
	for _, m := range msgs {
		ls, err := decodeDiag(hostport.UDP, m)
		if err != nil {
			return nil, err
		}
		l := ls[0]
		peer := netip.AddrFrom16([16]byte(m[24:40])).Unmap()
		if family == unix.AF_INET {
			peer = netip.AddrFrom4([4]byte(m[24:28]))
		}
		out = append(out, hostport.Flow{Local: netip.AddrPortFrom(l.Addr, l.Port), Peer: netip.AddrPortFrom(peer, binary.BigEndian.Uint16(m[6:]))})
	}
	return out, nil
}

// decodeDiag reads one struct inet_diag_msg with its attributes: a listener for each address
// of the socket, as one of SCTP may have several.
func decodeDiag(proto hostport.Proto, m []byte) (out []hostport.Listener, err error) {
	if len(m) < diagMsgLen {
		return nil, fmt.Errorf("sock_diag %s: the answer of the kernel is cut off: a message of %d bytes", proto, len(m))
	}
	l := hostport.Listener{
		Proto: proto,
		Port:  binary.BigEndian.Uint16(m[4:]),
		UID:   binary.NativeEndian.Uint32(m[64:]),
		Inode: binary.NativeEndian.Uint32(m[68:]),
		Bound: proto == hostport.TCP && m[1] == stateClose,
	}
	if index := binary.NativeEndian.Uint32(m[40:]); index != 0 {
		l.Device = deviceNumber(index)
	}
	if m[0] == unix.AF_INET {
		l.Addr = netip.AddrFrom4([4]byte(m[8:12]))
	} else {
		l.Addr = netip.AddrFrom16([16]byte(m[8:24])).Unmap()
	}
	locals := []netip.Addr{l.Addr}
	for a := m[diagMsgLen:]; len(a) >= 4; {
		n := int(binary.NativeEndian.Uint16(a))
		if n < 4 || n > len(a) {
			return nil, fmt.Errorf("sock_diag %s: the answer of the kernel is cut off: an attribute has %d bytes, and %d are left", proto, n, len(a))
		}
		switch binary.NativeEndian.Uint16(a[2:]) {
		case attrV6Only:
			l.V6Only = n > 4 && a[4] != 0
		case attrLocals:
			if several := decodeLocals(a[4:n]); len(several) > 0 {
				locals = several
			}
		}
		a = a[min(len(a), (n+3)&^3):]
	}
	for _, l.Addr = range locals {
		out = append(out, l)
	}
	return out, nil
}

// decodeLocals reads socket addresses.
func decodeLocals(b []byte) (out []netip.Addr) {
	for ; len(b) >= sockaddrLen; b = b[sockaddrLen:] {
		switch binary.NativeEndian.Uint16(b) {
		case unix.AF_INET:
			out = append(out, netip.AddrFrom4([4]byte(b[4:8])))
		case unix.AF_INET6:
			out = append(out, netip.AddrFrom16([16]byte(b[8:24])).Unmap())
		}
	}
	return out
}
