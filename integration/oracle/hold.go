// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/reservation"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
)

// Hold holds the port of an accepted mapping, has sockets of every kind bind it, and returns
// what went wrong: a bind must be refused exactly if the mapping has packets that would come
// to the socket. Nobody may have the port yet.
func (w *World) Hold(t lab.T, a Answer) (wrong []string) {
	t.Helper()
	held := attachment(a)
	b := reservation.New(reservation.Options{Ports: host.Ports{}, Known: func(hostport.Key) bool { return true }})
	if err := w.change(b, func(s backend.State) backend.State { return s.With(held) }); err != nil {
		t.Fatalf("hold %s: %v", a.Mapping, err)
	}
	for _, s := range binders() {
		switch err := w.Node.Bind(s, port); {
		case err != nil && !errors.Is(err, unix.EADDRINUSE):
			t.Fatalf("bind of %+v: %v", s, err)
		case (err != nil) != a.competes(s):
			wrong = append(wrong, fmt.Sprintf("%s is held, and a bind of %+v says %v", a.Mapping, s, err))
		}
	}
	if err := w.change(b, func(s backend.State) backend.State { return s.Without(held.Owner.Key()) }); err != nil {
		t.Fatalf("free %s: %v", a.Mapping, err)
	}
	for _, s := range binders() {
		if err := w.Node.Bind(s, port); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s is free again, and a bind of %+v says %v", a.Mapping, s, err))
		}
	}
	return wrong
}

// binders are sockets of every protocol and address of the node.
func binders() (out []lab.Socket) {
	for _, proto := range []string{"tcp", "udp", "mptcp"} {
		for _, is4 := range []bool{true, false} {
			for _, addr := range append(nodeAddrs(is4), loopback(is4)) {
				out = append(out, lab.Socket{Network: proto + "6", Addr: netip.AddrFrom16(addr.As16()).String(), Reuse: true})
				if is4 {
					out = append(out, lab.Socket{Network: proto + "4", Addr: addr.String(), Reuse: true})
				}
			}
		}
		out = append(out, lab.Socket{Network: proto + "4", Reuse: true}, lab.Socket{Network: proto + "6", Reuse: true},
			lab.Socket{Network: proto + "6", Reuse: true, V6Only: true})
	}
	return out
}

// competes reports whether the mapping has packets that would come to the socket.
func (a Answer) competes(s lab.Socket) bool {
	udp, is6 := strings.HasPrefix(s.Network, "udp"), strings.HasSuffix(s.Network, "6")
	if s.Addr != "" {
		return a.covers(Probe{Dst: netip.MustParseAddr(s.Addr).Unmap(), UDP: udp})
	}
	for _, is4 := range []bool{true, false} {
		if is4 && s.V6Only || !is4 && !is6 {
			continue
		}
		for _, addr := range append(nodeAddrs(is4), loopback(is4)) {
			if a.covers(Probe{Dst: addr, UDP: udp}) {
				return true
			}
		}
	}
	return false
}
