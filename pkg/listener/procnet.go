// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// parseInet reads /proc/net/{tcp,tcp6,udp,udp6}. Addresses are printed as 32-bit
// numbers in the machine's byte order (net/ipv4/tcp_ipv4.c, get_tcp4_sock). The
// file cannot tell V6ONLY, so "::" counts for both families.
func parseInet(r io.Reader, proto hostport.Proto, order binary.ByteOrder) ([]hostport.Listener, error) {
	want := "0A"
	if proto == hostport.UDP {
		want = "07"
	}
	var out []hostport.Listener
	err := eachLine(r, func(f []string) error {
		if len(f) < 10 {
			return fmt.Errorf("line has %d fields, not 10", len(f))
		}
		if f[3] != want {
			return nil
		}
		l, err := inetLine(f, order)
		l.Proto = proto
		out = append(out, l)
		return err
	})
	return out, err
}

func inetLine(f []string, order binary.ByteOrder) (hostport.Listener, error) {
	var l hostport.Listener
	at, err := inetAddr(f[1], order)
	if err != nil {
		return l, err
	}
	l.Addr, l.Port = at.Addr(), at.Port()
	err = setOwner(&l, f[7], f[9])
	return l, err
}

// inetAddr reads an address and a port.
func inetAddr(s string, order binary.ByteOrder) (at netip.AddrPort, err error) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return at, fmt.Errorf("invalid address %q", s)
	}
	for w := range slices.Chunk(b, 4) {
		order.PutUint32(w, binary.BigEndian.Uint32(w))
	}
	addr, _ := netip.AddrFromSlice(b)
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return at, fmt.Errorf("invalid port in %q", s)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), nil
}

// parseFlows reads the connected sockets of /proc/net/{udp,udp6}.
func parseFlows(r io.Reader, order binary.ByteOrder) (out []hostport.Flow, err error) {
	err = eachLine(r, func(f []string) error {
		if len(f) < 4 {
			return fmt.Errorf("line has %d fields, not 10", len(f))
		}
		if f[3] != "01" {
			return nil
		}
		local, err1 := inetAddr(f[1], order)
		peer, err2 := inetAddr(f[2], order)
		out = append(out, hostport.Flow{Local: local, Peer: peer})
		return cmp.Or(err1, err2)
	})
	return out, err
}

// parseSCTP reads /proc/net/sctp/eps (net/sctp/proc.c, sctp_seq_dump_local_addrs).
// An endpoint has one line with all its addresses.
func parseSCTP(r io.Reader) ([]hostport.Listener, error) {
	var out []hostport.Listener
	err := eachLine(r, func(f []string) error {
		if len(f) < 8 {
			return fmt.Errorf("line has %d fields, not 8", len(f))
		}
		port, err := strconv.ParseUint(f[5], 10, 16)
		if err != nil {
			return fmt.Errorf("invalid port %q", f[5])
		}
		if f[3] != strconv.Itoa(stateListen) {
			return nil
		}
		for _, a := range f[8:] {
			addr, err := netip.ParseAddr(strings.TrimPrefix(a, "*"))
			if err != nil {
				return fmt.Errorf("invalid address %q", a)
			}
			l := hostport.Listener{Proto: hostport.SCTP, Addr: addr.Unmap(), Port: uint16(port)}
			if err := setOwner(&l, f[6], f[7]); err != nil {
				return err
			}
			out = append(out, l)
		}
		return nil
	})
	return out, err
}

func setOwner(l *hostport.Listener, uid, inode string) error {
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return fmt.Errorf("invalid uid %q", uid)
	}
	i, err := strconv.ParseUint(inode, 10, 64)
	if err != nil {
		return fmt.Errorf("invalid inode %q", inode)
	}
	l.UID, l.Inode = uint32(u), uint32(i)
	return nil
}

// eachLine calls f with the fields of every line but the first, the heading.
func eachLine(r io.Reader, f func([]string) error) error {
	s := bufio.NewScanner(r)
	for n := 0; s.Scan(); n++ {
		if n == 0 || strings.TrimSpace(s.Text()) == "" {
			continue
		}
		if err := f(strings.Fields(s.Text())); err != nil {
			return fmt.Errorf("%w: %q", err, s.Text())
		}
	}
	return s.Err()
}
