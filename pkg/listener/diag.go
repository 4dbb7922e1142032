// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// Values of the kernel's include/uapi/linux/inet_diag.h and net/tcp_states.h.
const (
	sockDiagByFamily = 20
	diagReqLen       = 56 // struct inet_diag_req_v2
	diagMsgLen       = 72 // struct inet_diag_msg
	attrV6Only       = 11 // INET_DIAG_SKV6ONLY
	stateClose       = 7  // an unconnected UDP socket
	stateListen      = 10 // TCP, SCTP endpoints
)

// diagRequest asks for the sockets of one family and protocol that wait on
// port, 0 for all ports. State and port are compared in the kernel, which then
// never walks the table of established connections.
func diagRequest(family uint8, proto hostport.Proto, port uint16) []byte {
	b := make([]byte, diagReqLen)
	b[0], b[1] = family, uint8(proto)
	state := uint32(1 << stateListen)
	if proto == hostport.UDP {
		state = 1 << stateClose
	}
	binary.NativeEndian.PutUint32(b[4:], state)
	binary.BigEndian.PutUint16(b[8:], port)
	for i := 48; i < 56; i++ {
		b[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return b
}

// maxTries is how often an interrupted dump is asked for again. A dump that
// stays incomplete is an error: it would not prove that a port is free.
const maxTries = 5

// dump sends a request and decodes the answers. A missing handler (no tcp_diag
// module) is reported inside NLMSG_DONE, which nl.Execute turns into an errno.
func dump(family uint8, proto hostport.Proto, port uint16) ([]hostport.Listener, error) {
	var msgs [][]byte
	var err error
	for range maxTries {
		req := nl.NewNetlinkRequest(sockDiagByFamily, unix.NLM_F_DUMP)
		req.AddRawData(diagRequest(family, proto, port))
		msgs, err = req.Execute(unix.NETLINK_INET_DIAG, 0)
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sock_diag %s: %w", proto, err)
	}
	var out []hostport.Listener
	for _, m := range msgs {
		l, err := decodeDiag(proto, m)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// decodeDiag reads one struct inet_diag_msg with its attributes.
func decodeDiag(proto hostport.Proto, m []byte) (hostport.Listener, error) {
	if len(m) < diagMsgLen {
		return hostport.Listener{}, fmt.Errorf("sock_diag %s: message of %d bytes is too short", proto, len(m))
	}
	l := hostport.Listener{
		Proto: proto,
		Port:  binary.BigEndian.Uint16(m[4:]),
		UID:   binary.NativeEndian.Uint32(m[64:]),
		Inode: binary.NativeEndian.Uint32(m[68:]),
	}
	if m[0] == unix.AF_INET {
		l.Addr = netip.AddrFrom4([4]byte(m[8:12]))
	} else {
		l.Addr = netip.AddrFrom16([16]byte(m[8:24])).Unmap()
	}
	for a := m[diagMsgLen:]; len(a) >= 4; {
		n := int(binary.NativeEndian.Uint16(a))
		if n < 4 || n > len(a) {
			return l, fmt.Errorf("sock_diag %s: attribute of %d bytes in %d", proto, n, len(a))
		}
		if binary.NativeEndian.Uint16(a[2:]) == attrV6Only && n > 4 {
			l.V6Only = a[4] != 0
		}
		a = a[min(len(a), (n+3)&^3):]
	}
	return l, nil
}
