// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/portguard/portguard/integration/lab"
)

// The hostPorts that are held already, and how many of them a pod has.
const (
	heldFrom = 20000
	perPod   = 10
)

// heldSeats are nodes of each of the plugins for each of the numbers of hostPorts
// held. They are made once and kept: a hundred ADDs of portmap take a while.
func (b *bench) heldSeats(of []plugin, numbers []int) {
	var setUp []func()
	for _, p := range of {
		for _, k := range numbers {
			if b.heldSeat(p.name, k) != nil {
				continue
			}
			setUp = append(setUp, func() {
				s := b.newSeat(p, "nft")
				s.hold(k)
				b.mu.Lock()
				defer b.mu.Unlock()
				if b.nodes == nil {
					b.nodes = map[string]*seat{}
				}
				b.nodes[seatKey(p.name, k)] = s
			})
		}
	}
	parallel(setUp)
}

func seatKey(name string, k int) string { return fmt.Sprint(name, " ", k) }

func (b *bench) heldSeat(name string, k int) *seat {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nodes[seatKey(name, k)]
}

func (b *bench) closeHeld() {
	for _, s := range b.nodes {
		s.close()
	}
}

// hold adds pods until they have k TCP hostPorts. Packets get to the first one and
// to the last one; these two have the UDP port of their outermost mapping too.
func (s *seat) hold(k int) {
	for i := 0; i < k; i += perPod {
		part := ports(heldFrom+i, min(perPod, k-i))
		var a attachment
		switch {
		case i == 0:
			a = s.wire(1, append(part, udpOf(part[0]))...)
			s.first, s.last = a, a
		case i+perPod >= k:
			a = s.wire(2, append(part, udpOf(part[len(part)-1]))...)
			s.last = a
		default:
			a = s.b.unwired(i/perPod, part...)
		}
		s.call(add, a)
	}
}

func udpOf(p lab.Port) lab.Port { return lab.UDP(p.HostPort, p.ContainerPort) }

// outermost are the first and the last of the hostPorts held.
func (s *seat) outermost() (first, last lab.Port) {
	return s.first.ports[0], s.last.ports[len(s.last.ports)-1]
}

// pluginsOf are those of one program.
func pluginsOf(binary string) []plugin {
	var out []plugin
	for _, p := range plugins() {
		if p.binary == binary {
			out = append(out, p)
		}
	}
	return out
}

// mappers are all but the plugin that does nothing.
func mappers() []plugin { return append(pluginsOf("portguard"), pluginsOf("portmap")...) }
