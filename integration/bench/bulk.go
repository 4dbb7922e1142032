// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/integration/bench/load"
	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
)

// bulk measures the throughput of an established connection through the last of
// many hostPorts, and of one straight to the pod's address on the same path.
func bulk(b *bench) {
	numbers := heldNumbers(b)
	most := numbers[len(numbers)-1]
	b.heldSeats(mappers(), []int{most})
	job := load.Bulk{Rounds: b.rounds, MiB: b.number(128, 16)}
	for _, p := range mappers() {
		s := b.heldSeat(p.name, most)
		_, last := s.outermost()
		mapped := cells(s.node, s.last.pod.Netns, last)[0]
		straight := mapped
		straight.To = netip.AddrPortFrom(netip.MustParseAddr(s.last.v4), mapped.Port).String()
		job.Cells = append(job.Cells, mapped, straight)
	}
	figures := b.load(load.Job{Bulk: &job}).figures()
	t := &report.Table{Name: "bulk", Labels: 1, Head: []string{"", "hostPort MiB/s", "min–max", "pod MiB/s", "min–max", "hostPort/pod"},
		Title: fmt.Sprintf("Throughput of an established connection through the last of %s hostPorts, and to the pod's own address (%d times %d MiB)",
			thousands(most), job.Rounds, job.MiB)}
	for i, p := range mappers() {
		mapped, straight := stats.Of(figures[2*i]), stats.Of(figures[2*i+1])
		t.Add(p.name, stats.Figure(mapped.Median), interval(mapped), stats.Figure(straight.Median), interval(straight),
			ratio(mapped.Median/straight.Median))
	}
	b.publish(t)
}
