// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
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
	// Long packets have options, of IPv6 an extension header; those of UDP that are marked
	// have more to say instead.
	Long bool
	// Header is what it has that others have not.
	Header header
	// Once means that a flow of UDP has one packet.
	Once    bool
	srcPort uint16
	// Seen is set if conntrack knows the connection, To is where it leads then.
	Seen bool
	To   netip.AddrPort
	// Received is set if a socket has got it.
	Received bool
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
	return fmt.Sprintf("%s %s %s -> %s:%d marked=%t long=%t %s", from, proto, p.Src, p.Dst, port, p.Marked, p.Long, p.Header)
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
	for _, p := range all {
		for _, h := range w.headers {
			if p.Header = h; !p.Marked {
				all = append(all, p)
			}
		}
	}
	if w.lengths {
		for _, p := range all {
			p.Long = true
			all = append(all, p)
		}
	}
	if w.counts { // every second packet meets a rule, of few flows perhaps no first one
		again := slices.Clone(all)
		for i := range again {
			again[i].Once = true
		}
		all = slices.Concat(all, again, all)
	}
	var err error
	// In any order: rules may count.
	order := rand.New(rand.NewPCG(1, 2)).Perm(len(all))
	send := func(fromNode bool) {
		for _, i := range order {
			if all[i].FromNode == fromNode && err == nil {
				err = w.send(&all[i])
			}
		}
	}
	if _, err := w.flows.read(); err != nil { // of the sockets
		t.Fatalf("conntrack: %v", err)
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
	w.receive(t, all)
	if w.rewrites {
		w.rewritten(all)
	}
	return all
}

// rewritten completes the probes with what rules have written into them, behind conntrack. To
// an answer to its own address, which a client pretended to have, the node itself answers with
// the client's port: that is no packet of a client.
func (w *World) rewritten(all []Probe) {
	out := w.Node.Run("nft", "-j", "list", "set", "inet", "oraclemark", "moved")
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
		return
	}
	w.Node.Run("nft", "flush", "set", "inet", "oraclemark", "moved")
	for i, p := range all {
		proto := map[bool]string{false: "tcp", true: "udp"}[p.UDP]
		pretended := !p.FromNode && (p.Src.IsLoopback() || slices.Contains(nodeAddrs(p.Src.Is4()), p.Src))
		if moved[fmt.Sprint(proto, float64(p.srcPort))] && !pretended {
			all[i].Seen, all[i].To = true, netip.AddrPortFrom(p.Dst, rewritten)
		}
	}
}

// follow completes the probes with what conntrack knows. Each has its own source port. Of
// several connections, those of later packets, the one counts that was translated.
func follow(all []Probe, flows []flow) {
	of := map[end][]flow{}
	for _, f := range flows {
		k := end{f.proto, f.src.Port()}
		of[k] = append(of[k], f)
	}
	for i := range all {
		p := &all[i]
		for _, f := range of[end{p.proto(), p.srcPort}] {
			if p.Translated() || f.src.Addr().Is4() != p.Src.Is4() {
				continue
			}
			p.Seen, p.To = true, f.to
			if meant := netip.AddrPortFrom(p.Dst, port); f.dst != meant { // a rule wrote into it before conntrack saw it
				p.To = f.dst
			}
		}
	}
}

// An end is the one of the client, by which a probe is known.
type end struct {
	proto uint8
	port  uint16
}

func (p Probe) proto() uint8 {
	if p.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// sourcePort is one that was not used for long.
func (w *World) sourcePort() int {
	const from, to = 20000, 60000
	if w.lastPort++; w.lastPort < from || w.lastPort > to {
		w.lastPort = from
	}
	return w.lastPort
}

// send opens the connection from the calling thread's namespace and does not
// wait for an answer.
func (w *World) send(p *Probe) error {
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
	for err = unix.EADDRINUSE; err == unix.EADDRINUSE; {
		n := w.sourcePort()
		p.srcPort, err = uint16(n), unix.Bind(fd, sockaddr(p.Src, n))
	}
	if err != nil {
		return fmt.Errorf("bind %s: %w", p.Src, err)
	}
	err = unix.Connect(fd, sockaddr(p.Dst, port))
	// Two datagrams: the second meets what the first one left to its connection. An answer
	// that the first got is the result of a try that sends nothing.
	size, left := 32, 2
	if p.bulky() {
		size += 40
	}
	if p.Once {
		left = 1
	}
	for tries := 0; p.UDP && left > 0 && tries < 4; tries++ {
		if _, err = unix.Write(fd, make([]byte, size)); err == nil {
			left--
		}
	}
	switch err {
	case nil, unix.EINPROGRESS, unix.ECONNREFUSED, unix.EPERM, unix.EAGAIN, unix.EINVAL, unix.ENETUNREACH:
		return nil // refused, dropped by a rule, not routable, or under way
	}
	return fmt.Errorf("%s: %w", p, err)
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}
