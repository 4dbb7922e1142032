// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/integration/bench/load"
	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
	"github.com/portguard/portguard/integration/lab"
)

// bulk measures the throughput of an established connection through the last of
// many hostPorts, of one straight to that pod's address, and of one on a node
// without any rules.
func bulk(b *bench) {
	numbers := heldNumbers(b)
	most := numbers[len(numbers)-1]
	b.heldSeats(mappers(), []int{most})
	job := load.Bulk{Rounds: b.rounds, MiB: b.number(128, 16)}
	for _, p := range mappers() {
		s := b.heldSeat(p.name, most)
		_, last := s.outermost()
		mapped := cells(s.node, s.last.pod.Netns, last)[0]
		job.Cells = append(job.Cells, mapped, straight(mapped, s.last))
	}
	bare := b.newSeat(plugin{name: "no mapping"}, "nft")
	defer bare.close()
	job.Cells = append(job.Cells, straight(cells(bare.node, bare.own.pod.Netns, lab.TCP(hostPort, 80))[0], bare.own))
	figures := b.load(load.Job{Bulk: &job}).figures()
	t := &report.Table{Name: "bulk", Labels: 1, Head: []string{"", "hostPort MiB/s", "min–max", "/portmap", "pod MiB/s", "min–max", "hostPort/pod"},
		Title: fmt.Sprintf("Throughput of an established connection through the last of %s hostPorts, and to the pod's own address (%d times %d MiB)",
			thousands(most), job.Rounds, job.MiB)}
	theirs := stats.Of(figures[2*slices.IndexFunc(mappers(), func(p plugin) bool { return p.name == mapIpt })])
	for i, p := range mappers() {
		mapped, straight := stats.Of(figures[2*i]), stats.Of(figures[2*i+1])
		t.Add(p.name, stats.Figure(mapped.Median), interval(mapped), ratio(mapped.Median/theirs.Median),
			stats.Figure(straight.Median), interval(straight), ratio(mapped.Median/straight.Median))
	}
	none := stats.Of(figures[len(figures)-1])
	t.Add(bare.name, "-", "-", "-", stats.Figure(none.Median), interval(none), "-")
	b.publish(t)
}

// straight is the same way to the pod's own address.
func straight(c load.Cell, a attachment) load.Cell {
	c.To = netip.AddrPortFrom(netip.MustParseAddr(a.v4), c.Port).String()
	return c
}
