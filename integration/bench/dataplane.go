// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/integration/bench/chart"
	"github.com/portguard/portguard/integration/bench/load"
	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
	"github.com/portguard/portguard/integration/lab"
)

// A kind is one kind of flow, a column of the table.
type kind struct {
	name string
	udp  bool
	v6   bool
}

func kinds() []kind {
	return []kind{{"TCP, IPv4", false, false}, {"UDP, IPv4", true, false}, {"TCP, IPv6", false, true}, {"UDP, IPv6", true, true}}
}

// A path is a way to a server, a row of the table, with a cell for each kind.
type path struct {
	plugin string
	colour string
	held   int
	which  string
	cells  []load.Cell
	took   []stats.Summary
}

func heldNumbers(b *bench) []int { return []int{1, b.number(100, 20), b.number(1000, 60)} }

// flows measures new flows to the first and to the last of the hostPorts of nodes
// that hold few and many.
func flows(b *bench) {
	b.heldSeats(mappers(), heldNumbers(b))
	direct := b.newSeat(plugin{name: "no mapping"}, "nft")
	defer direct.close()
	paths := []path{{plugin: direct.name, colour: "#8c8c8c", which: "a server on the node", cells: cells(direct.node, direct.node.Netns, lab.TCP(hostPort, hostPort))}}
	for _, p := range mappers() {
		for _, k := range heldNumbers(b) {
			s := b.heldSeat(p.name, k)
			first, last := s.outermost()
			paths = append(paths, path{plugin: p.name, colour: p.colour, held: k, which: "first of " + thousands(k), cells: cells(s.node, s.first.pod.Netns, first)})
			if k > 1 {
				paths = append(paths, path{plugin: p.name, colour: p.colour, held: k, which: "last of " + thousands(k), cells: cells(s.node, s.last.pod.Netns, last)})
			}
		}
	}
	job := load.Flows{Rounds: b.rounds, Count: 200}
	for _, p := range paths {
		job.Cells = append(job.Cells, p.cells...)
	}
	figures := b.load(load.Job{Flows: &job}).figures()
	for i := range paths {
		for range paths[i].cells {
			paths[i].took = append(paths[i].took, stats.Of(figures[0]))
			figures = figures[1:]
		}
	}
	b.publish(flowTable(paths, job))
	b.flowGoals(paths)
	b.picture("flows", flowChart(paths, heldNumbers(b)))
}

// cells lead from the node's client through a hostPort to a server.
func cells(n *lab.Node, server *lab.Netns, p lab.Port) []load.Cell {
	var out []load.Cell
	for _, k := range kinds() {
		node := lab.NodeV4
		if k.v6 {
			node = lab.NodeV6
		}
		to := netip.AddrPortFrom(netip.MustParseAddr(node), uint16(p.HostPort))
		out = append(out, load.Cell{Client: n.Client.Path, Server: server.Path, UDP: k.udp, To: to.String(), Port: uint16(p.ContainerPort)})
	}
	return out
}

func flowTable(paths []path, job load.Flows) *report.Table {
	t := &report.Table{Name: "flows", Labels: 2, Head: []string{"", "hostPort"},
		Title: fmt.Sprintf("A new connection (TCP) and a new flow's first packet (UDP), in microseconds (medians of %d flows, %d rounds)", job.Count, job.Rounds)}
	for _, k := range kinds() {
		t.Head = append(t.Head, k.name, "min–max")
	}
	for _, p := range paths {
		row := []string{p.plugin, p.which}
		for _, s := range p.took {
			row = append(row, stats.Figure(s.Median), interval(s))
		}
		t.Add(row...)
	}
	return t
}

// flowGoals compares the last of many with the first, and every path with those
// of portmap.
func (b *bench) flowGoals(paths []path) {
	find := func(plugin, which string) path {
		for _, p := range paths {
			if p.plugin == plugin && p.which == which {
				return p
			}
		}
		return path{}
	}
	most := thousands(heldNumbers(b)[2])
	for _, p := range pluginsOf("portguard") {
		worst := 0.0
		for i := range kinds() {
			worst = max(worst, stats.Ratio(find(p.name, "last of "+most).took[i].Median, find(p.name, "first of "+most).took[i].Median))
		}
		b.goal(p.name+": new flow to the last of "+most+" / the first, worst", 1.05, worst)
		for _, other := range pluginsOf("portmap") {
			worst := 0.0
			for _, ours := range paths {
				for i := range ours.took {
					if theirs := find(other.name, ours.which); ours.plugin == p.name {
						worst = max(worst, stats.Ratio(ours.took[i].Median, theirs.took[i].Median))
					}
				}
			}
			b.goal(p.name+": new flow / that of "+other.name+", worst", 1, worst)
		}
	}
}

// flowChart shows new connections over IPv4.
func flowChart(paths []path, numbers []int) *chart.Chart {
	c := &chart.Chart{Title: "A new TCP connection to the last hostPort, IPv4", X: "hostPorts held on the node", Y: "microseconds"}
	for _, k := range numbers {
		c.Groups = append(c.Groups, thousands(k))
	}
	series := map[string]int{}
	for _, p := range paths {
		at, ok := series[p.plugin]
		if !ok {
			at, series[p.plugin] = len(c.Series), len(c.Series)
			c.Series = append(c.Series, chart.Series{Name: p.plugin, Colour: p.colour, Values: make([]stats.Summary, len(numbers))})
		}
		for i, k := range numbers {
			if p.held == k || p.held == 0 { // the last path of a number wins
				c.Series[at].Values[i] = p.took[0]
			}
		}
	}
	return c
}
