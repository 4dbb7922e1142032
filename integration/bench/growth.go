// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/portguard/portguard/integration/bench/load"
	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
	"github.com/portguard/portguard/integration/lab"
)

// Ports of the pod that has many, of the other pod, and of the sockets that listen. That
// of an ordinary pod is hostPort.
const (
	manyFrom   = 10000
	otherPort  = 8081
	listenFrom = 30000
)

// What grows is measured by these calls, in this order, and again each round.
const (
	addThis = iota
	checkThis
	addOther
	delOther
	delThis
	growthCalls
)

// A dimension is something of which a node, or a pod, may have many.
type dimension struct {
	of    string
	sizes []int
	// seat makes a node of that size, ports is how many hostPorts its pod asks for.
	seat  func(p plugin, size int) *seat
	ports func(size int) int
	// by are the plugins that can do it at all.
	by []plugin
}

func onePortEach(int) int { return 1 }

// heldPorts are on nodes that other scenarios have too.
const heldPorts = "hostPorts held"

// dimensions are all of them. The last but one size is a quarter of the last, or a fifth.
func dimensions(b *bench) []dimension {
	with := func(load func(n *seat, size int)) func(plugin, int) *seat {
		return func(p plugin, size int) *seat {
			s := b.newSeat(p, "nft")
			load(s, size)
			return s
		}
	}
	few := func(sizes ...int) []int {
		for i := range sizes {
			sizes[i] = b.number(sizes[i], max(1, sizes[i]/20))
		}
		return sizes
	}
	ipvs, native := []plugin{}, []plugin{} // some plugins fit in with some nodes only
	for _, p := range mappers() {
		if p.name != guardNft {
			ipvs = append(ipvs, p)
		}
		if p.backend == "nftables" {
			native = append(native, p)
		}
	}
	return []dimension{
		{"addresses", few(100, 1000, 5000), with(func(s *seat, k int) { s.node.Addresses(k) }), onePortEach, mappers()},
		{"Services in ipvs mode", few(1000, 4000), with(func(s *seat, k int) { s.node.IPVS(k) }), onePortEach, ipvs},
		{"rules for a source each", few(5000, 20000), with(func(s *seat, k int) { s.node.Feed(lab.Sources(k), "nft", "-f", "-") }), onePortEach, mappers()},
		// Where portmap is to write iptables it starts programs for each port: a hundred take it
		// seconds. For ours iptables-restore alone takes longer than all that is measured here.
		{"hostPorts of the pod", few(4000, 16000), with(func(*seat, int) {}), func(k int) int { return k }, native},
		{"jumps at each of 8 levels", []int{2, 8}, with(func(s *seat, k int) { s.node.Feed(lab.Jumps(8, k), "nft", "-f", "-") }), onePortEach, mappers()},
		{heldPorts, few(250, 1000), func(p plugin, k int) *seat { return b.heldSeat(p.name, k) }, onePortEach, mappers()},
		{"listeners", few(1250, 5000), with(func(s *seat, k int) { s.listen(k) }), onePortEach, mappers()},
	}
}

// A grown is a node of some size, with what the calls took there.
type grown struct {
	*seat
	size        int
	this, other attachment
	// cpu and wall are milliseconds of each call.
	cpu, wall [growthCalls][]float64
}

// turn makes all calls once.
func (g *grown) turn() {
	for i, c := range [growthCalls]struct {
		verb string
		of   attachment
	}{{add, g.this}, {check, g.this}, {add, g.other}, {del, g.other}, {del, g.this}} {
		settle()
		r := g.run(c.verb, c.of)
		g.cpu[i] = append(g.cpu[i], float64(r.CPU.Microseconds())/1000)
		g.wall[i] = append(g.wall[i], float64(r.Took.Microseconds())/1000)
	}
}

// growth measures what becomes of ADD, CHECK and DEL where there is more and more of
// something.
func growth(b *bench) {
	t := &report.Table{Name: "growth", Labels: 3, Title: "Nodes and pods that have many of something: milliseconds of CPU time, and how long it took",
		Head: []string{"", "", "node", "ADD CPU", "ADD", "/portmap", "CHECK CPU", "CHECK", "DEL CPU", "DEL", "ADD CPU, other pod", "ADD", "DEL CPU, other pod", "DEL"}}
	for _, d := range dimensions(b) {
		all := b.grow(d)
		for _, row := range all {
			for j, g := range row {
				cells := []string{d.of, g.name, thousands(g.size)}
				for _, i := range []int{addThis, checkThis, delThis, addOther, delOther} {
					cells = append(cells, stats.Figure(stats.Of(g.cpu[i]).Median), stats.Figure(stats.Of(g.wall[i]).Median))
					if i == addThis {
						cells = append(cells, ratio(g.overPortmap(all, j)))
					}
				}
				t.Add(cells...)
			}
		}
		b.growthGoals(d, all)
	}
	b.publish(t)
}

// grow makes the nodes of a dimension, calls the plugins there, and removes them.
func (b *bench) grow(d dimension) [][]*grown {
	if d.of == heldPorts {
		b.heldSeats(d.by, d.sizes)
	}
	all := make([][]*grown, len(d.by))
	var setUp, tasks []func()
	for i, p := range d.by {
		setUp = append(setUp, func() {
			for _, k := range d.sizes {
				s := d.seat(p, k)
				g := &grown{seat: s, size: k, this: s.asks(ports(hostPort, 1)...), other: b.unwired(0, ports(otherPort, 1)...)}
				if n := d.ports(k); n > 1 {
					g.this = s.asks(ports(manyFrom, n)...)
				}
				all[i] = append(all[i], g)
			}
		})
	}
	parallel(setUp)
	for _, row := range all {
		for _, g := range row {
			if d.of != heldPorts { // those stay
				defer g.close()
			}
			tasks = append(tasks, g.turn)
		}
	}
	b.turns(min(b.rounds, leastRounds), 0, tasks)
	return all
}

// overPortmap compares the CPU time of an ADD with that of portmap's default, or of its
// same backend where the default cannot do it at all, on nodes of that size. It is 0 where
// neither can.
func (g *grown) overPortmap(all [][]*grown, size int) float64 {
	for _, theirs := range []string{mapIpt, "portmap " + g.backend} {
		for _, row := range all {
			if row[size].name == theirs {
				return stats.Ratio(stats.Of(g.cpu[addThis]).Median, stats.Of(row[size].cpu[addThis]).Median)
			}
		}
	}
	return 0
}

// growthGoals: what is four times as big takes at most five times as long, and an ADD at
// most a second, and at most twice as long as portmap's.
func (b *bench) growthGoals(d dimension, all [][]*grown) {
	last := len(d.sizes) - 1
	seconds, overPortmap, factor := 0.0, 0.0, 0.0
	for _, row := range all {
		if row[0].binary != "portguard" {
			continue
		}
		seconds = max(seconds, stats.Of(row[last].cpu[addThis]).Median/1000)
		overPortmap = max(overPortmap, row[last].overPortmap(all, last))
		for i := range row[last].cpu {
			factor = max(factor, stats.Ratio(stats.Of(row[last].cpu[i]).Median, stats.Of(row[last-1].cpu[i]).Median))
		}
	}
	what := thousands(d.sizes[last]) + " " + d.of
	b.goal("growth, "+what+": seconds of CPU of an ADD, worst backend", 1, seconds)
	b.goal("growth, "+what+": CPU of an ADD / portmap's, worst backend", 2, overPortmap)
	b.goal(fmt.Sprintf("growth, %s: CPU / at %s, worst verb and backend", what, thousands(d.sizes[last-1])),
		1.25*float64(d.sizes[last])/float64(d.sizes[last-1]), factor)
}

// listen opens sockets until the seat is closed.
func (s *seat) listen(k int) {
	s.open = s.b.load(load.Job{Hold: &load.Hold{Namespace: s.node.Path, Port: listenFrom, Listeners: k}})
}
