// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

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
	// rounds are the medians of each round of a cell.
	rounds [][]float64
}

// twins are second nodes of what portguard is compared with, that hold one hostPort:
// they differ from the first by what the measurement cannot tell.
func twins() []plugin {
	out := pluginsOf("portmap")
	for i := range out {
		out[i].name += again
	}
	return out
}

const again = ", another node"

func heldNumbers(b *bench) []int { return []int{1, b.number(100, 20), b.number(1000, 60)} }

// flows measures new flows to the first and to the last of the hostPorts of nodes
// that hold few and many.
func flows(b *bench) {
	b.heldSeats(mappers(), heldNumbers(b))
	b.heldSeats(twins(), heldNumbers(b)[:1])
	direct := b.newSeat(plugin{name: "no mapping"}, "nft")
	defer direct.close()
	paths := []path{{plugin: direct.name, colour: "#8c8c8c", which: "a server on the node", cells: cells(direct.node, direct.node.Netns, lab.TCP(hostPort, hostPort))}}
	for _, p := range append(mappers(), twins()...) {
		for _, k := range heldNumbers(b) {
			if s := b.heldSeat(p.name, k); s != nil {
				paths = append(paths, s.paths(k)...)
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
			paths[i].rounds = append(paths[i].rounds, figures[0])
			figures = figures[1:]
		}
	}
	b.publish(flowTable(paths, job))
	b.flowGoals(paths)
	b.picture("flows", flowChart(paths, heldNumbers(b)))
}

// paths lead to the first and the last of the k hostPorts that a node holds.
func (s *seat) paths(k int) []path {
	first, last := s.outermost()
	one := path{plugin: s.name, colour: s.colour, held: k, which: "first of " + thousands(k), cells: cells(s.node, s.first.pod.Netns, first)}
	if k == 1 {
		return []path{one}
	}
	end := path{plugin: s.name, colour: s.colour, held: k, which: "last of " + thousands(k), cells: cells(s.node, s.last.pod.Netns, last)}
	return []path{one, end}
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
		for _, series := range p.rounds {
			s := stats.Of(series)
			row = append(row, stats.Figure(s.Median), interval(s))
		}
		t.Add(row...)
	}
	return t
}

// flowGoals compares a new flow with one of portmap's default, where each has one
// hostPort, and in nftables the last of many with the first.
func (b *bench) flowGoals(paths []path) {
	find := func(plugin, which string) path {
		for _, p := range paths {
			if p.plugin == plugin && p.which == which {
				return p
			}
		}
		return path{}
	}
	const one = "first of 1"
	for _, name := range []string{guardNft, guardIpt} {
		b.goal(name+": new flow / portmap's, one hostPort, worst of four kinds", 1.05,
			slices.Max(against(find(name, one), find(mapIpt, one))))
	}
	most := thousands(heldNumbers(b)[2])
	b.goal(guardNft+": new flow to the last of "+most+" / the first, worst of four kinds", 1.05,
		slices.Max(against(find(guardNft, "last of "+most), find(guardNft, "first of "+most))))
	b.goal("portmap iptables: new flow / that on another node, worst (what is not noise is above it)", 0,
		slices.Max(against(find(mapIpt, one), find(mapIpt+again, one))))
}

// against compares two paths, kind by kind: the medians of the ratios within a round.
func against(ours, theirs path) []float64 {
	var out []float64
	for i := range ours.rounds {
		out = append(out, stats.Paired(ours.rounds[i], theirs.rounds[i]))
	}
	return out
}

// flowChart shows new connections over IPv4.
func flowChart(paths []path, numbers []int) *chart.Chart {
	c := &chart.Chart{Title: "A new TCP connection to the last hostPort, IPv4", X: "hostPorts held on the node", Y: "microseconds"}
	for _, k := range numbers {
		c.Groups = append(c.Groups, thousands(k))
	}
	series := map[string]int{}
	for _, p := range paths {
		if strings.HasSuffix(p.plugin, again) { // it is in the table
			continue
		}
		at, ok := series[p.plugin]
		if !ok {
			at, series[p.plugin] = len(c.Series), len(c.Series)
			c.Series = append(c.Series, chart.Series{Name: p.plugin, Colour: p.colour, Values: make([]stats.Summary, len(numbers))})
		}
		for i, k := range numbers {
			if p.held == k || p.held == 0 { // the last path of a number wins
				c.Series[at].Values[i] = stats.Of(p.rounds[0])
			}
		}
	}
	return c
}
