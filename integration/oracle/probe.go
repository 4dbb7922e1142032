// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/hostport"
)

// A Probe is one packet that opens a connection.
type Probe struct {
	FromNode bool
	UDP      bool
	Src, Dst netip.Addr
	Link     string
	Marked   bool
	srcPort  uint16
	// Twin is set if another probe, sent from the other namespace, happened to
	// get the same source port: conntrack cannot tell the two apart.
	Twin bool
	// Seen is set if conntrack knows the connection, To is where it leads then.
	Seen bool
	To   netip.AddrPort
}

// Translated reports whether the kernel sent it elsewhere.
func (p Probe) Translated() bool { return p.Seen && p.To != netip.AddrPortFrom(p.Dst, port) }

// String tells what was sent.
func (p Probe) String() string {
	proto, from := "tcp", "client "+p.Link
	if p.UDP {
		proto = "udp"
	}
	if p.FromNode {
		from = "node"
	}
	return fmt.Sprintf("%s %s %s -> %s:%d marked=%t", from, proto, p.Src, p.Dst, port, p.Marked)
}

// probes are all packets of the world of some families.
func probes(families ...hostport.Family) []Probe {
	var out []Probe
	for _, f := range families {
		is4 := f == hostport.IPv4
		for i := range 4 {
			udp, marked := i%2 == 1, i > 1
			for _, src := range sources(is4) {
				for _, dst := range nodeAddrs(is4) {
					out = append(out, Probe{FromNode: true, UDP: udp, Src: src, Dst: dst, Marked: marked})
					if src == netip.IPv6Loopback() {
						continue // dropped before any hook (ip6_rcv_core)
					}
					for _, s := range sides() {
						out = append(out, Probe{UDP: udp, Src: src, Dst: dst, Link: s.link, Marked: marked})
					}
				}
				out = append(out, Probe{FromNode: true, UDP: udp, Src: src, Dst: loopback(is4), Marked: marked})
			}
		}
	}
	return out
}

// Send sends all probes of some families and returns what became of them.
func (w *World) Send(t lab.T, families ...hostport.Family) []Probe {
	t.Helper()
	all := probes(families...)
	var err error
	send := func(fromNode bool) {
		for i := range all {
			if all[i].FromNode == fromNode && err == nil {
				err = all[i].send()
			}
		}
	}
	w.Client.Do(func() { send(false) })
	w.Node.Do(func() { send(true) })
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	time.Sleep(2 * time.Millisecond) // the last packets may still be queued
	to, err := w.flows.read()
	if err != nil {
		t.Fatalf("conntrack: %v", err)
	}
	w.Node.Do(func() { err = forget() })
	if err != nil {
		t.Fatalf("conntrack: %v", err)
	}
	follow(all, to)
	if w.rewrites {
		w.rewritten(all)
	}
	return all
}

// rewritten completes the probes with what rules have written into them, behind conntrack.
func (w *World) rewritten(all []Probe) {
	for _, f := range []string{"4", "6"} {
		out := w.Node.Run("nft", "-j", "list", "set", "inet", "oraclemark", "moved"+f)
		var list struct {
			Nftables []struct {
				Set struct {
					Elem []struct {
						Concat []any `json:"concat"`
					} `json:"elem"`
				} `json:"set"`
			} `json:"nftables"`
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			w.Node.T.Fatalf("%s: %v", out, err)
		}
		moved := map[string]bool{}
		for _, o := range list.Nftables {
			for _, e := range o.Set.Elem {
				moved[fmt.Sprint(e.Concat...)] = true
			}
		}
		if len(moved) == 0 {
			continue
		}
		w.Node.Run("nft", "flush", "set", "inet", "oraclemark", "moved"+f)
		for i, p := range all {
			proto := map[bool]string{false: "tcp", true: "udp"}[p.UDP]
			if moved[fmt.Sprint(p.Src.String(), proto, float64(p.srcPort))] && !p.Twin {
				all[i].Seen, all[i].To = true, netip.AddrPortFrom(p.Dst, rewritten)
			}
		}
	}
}

// follow completes the probes with what conntrack knows.
func follow(all []Probe, to map[key]netip.AddrPort) {
	count := map[key]int{}
	for _, p := range all {
		count[p.key()]++
	}
	for i, p := range all {
		if all[i].Twin = count[p.key()] > 1; all[i].Twin {
			continue
		}
		all[i].To, all[i].Seen = to[p.key()]
		// Perhaps it, or a later packet, was another one before conntrack saw it.
		k := p.key()
		for _, k.dst = range []netip.AddrPort{netip.AddrPortFrom(p.Dst, rewritten), netip.AddrPortFrom(elsewhere(p.Dst.Is4()), rewritten)} {
			if _, ok := to[k]; ok {
				all[i].To, all[i].Seen = k.dst, true
			}
		}
	}
}

func (p Probe) key() key {
	proto := uint8(unix.IPPROTO_TCP)
	if p.UDP {
		proto = unix.IPPROTO_UDP
	}
	return key{proto, netip.AddrPortFrom(p.Src, p.srcPort), netip.AddrPortFrom(p.Dst, port)}
}

// send opens the connection from the calling thread's namespace and does not
// wait for an answer.
func (p *Probe) send() error {
	family, typ := unix.AF_INET, unix.SOCK_STREAM
	if p.Src.Is6() {
		family = unix.AF_INET6
	}
	if p.UDP {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if p.Link != "" {
		if err := unix.BindToDevice(fd, p.Link); err != nil {
			return err
		}
	}
	if err := p.options(fd); err != nil {
		return err
	}
	if err := unix.Bind(fd, sockaddr(p.Src, 0)); err != nil {
		return fmt.Errorf("bind %s: %w", p.Src, err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	switch a := local.(type) {
	case *unix.SockaddrInet4:
		p.srcPort = uint16(a.Port)
	case *unix.SockaddrInet6:
		p.srcPort = uint16(a.Port)
	}
	err = unix.Connect(fd, sockaddr(p.Dst, port))
	if p.UDP && err == nil {
		_, err = unix.Write(fd, []byte("x"))
	}
	switch err {
	case nil, unix.EINPROGRESS, unix.ECONNREFUSED, unix.EPERM, unix.EAGAIN, unix.EINVAL, unix.ENETUNREACH:
		return nil // refused, dropped by a rule, not routable, or under way
	}
	return fmt.Errorf("%s: %w", p, err)
}

// options sets the DSCP of marked packets, and lets the socket have any source
// address, also one that is not ours.
func (p *Probe) options(fd int) (err error) {
	is4 := p.Src.Is4()
	switch {
	case p.Marked && is4:
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, 8<<2)
	case p.Marked:
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 8<<2)
	}
	if err != nil {
		return err
	}
	if is4 {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}
