// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// A flow is a connection by its original direction, and where it leads.
type flow struct {
	proto        uint8
	src, dst, to netip.AddrPort
}

// Flows tells what connections conntrack gets, and where they lead. It listens for
// them, because a list of all costs a walk through the table of all network namespaces,
// and because some are over before anybody could ask.
type flows struct{ fd int }

// newConnections is NFNLGRP_CONNTRACK_NEW.
const newConnections = 1

// listen opens the socket in the network namespace of the calling thread.
func listen() (*flows, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (newConnections - 1)}))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &flows{fd}, nil
}

func (f *flows) close() { unix.Close(f.fd) }

// read returns what came since the last call.
func (f *flows) read() (out []flow, err error) {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(f.fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return out, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if len(m.Data) < nl.SizeofNfgenmsg {
				return nil, fmt.Errorf("a message of %d bytes", len(m.Data))
			}
			fl, err := connection(nft.Attrs(m.Data[nl.SizeofNfgenmsg:]))
			if err != nil {
				return nil, err
			}
			out = append(out, fl)
		}
	}
}

// connection reads both directions of one (CTA_TUPLE_ORIG and CTA_TUPLE_REPLY): it leads to
// where its answers come from.
func connection(a nft.Attrs) (flow, error) {
	f, err := tuple(a, 1)
	if err != nil {
		return f, err
	}
	answers, err := tuple(a, 2)
	f.to = answers.src
	return f, err
}

// tuple reads one direction (CTA_TUPLE_IP and CTA_TUPLE_PROTO).
func tuple(a nft.Attrs, typ uint16) (f flow, err error) {
	t, err := a.Nested(typ)
	if err != nil {
		return f, err
	}
	ip, err1 := t.Nested(1)
	proto, err2 := t.Nested(2)
	if err := errors.Join(err1, err2); err != nil {
		return f, err
	}
	at := func(v4, v6, portAt uint16) netip.AddrPort {
		b, ok := ip.Get(v4)
		if !ok {
			b, _ = ip.Get(v6)
		}
		addr, _ := netip.AddrFromSlice(b)
		var port uint16
		if b, _ := proto.Get(portAt); len(b) == 2 {
			port = binary.BigEndian.Uint16(b)
		}
		return netip.AddrPortFrom(addr, port)
	}
	if b, _ := proto.Get(1); len(b) == 1 {
		f.proto = b[0]
	}
	f.src, f.dst = at(1, 3, 2), at(2, 4, 3)
	return f, nil
}

// forget empties conntrack.
func forget() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }
