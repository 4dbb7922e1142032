// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
)

// mappings measures ADD and DEL of pods with few and many hostPorts on a node
// that holds one more.
func mappings(b *bench) {
	sizes := []int{1, 10, b.number(100, 20)}
	all := make([][]*contest, len(mappers()))
	var setUp, tasks []func()
	for i, p := range mappers() {
		setUp = append(setUp, func() {
			s := b.newSeat(p, "nft")
			s.hold(1)
			for _, k := range sizes {
				all[i] = append(all[i], newContest(s, s.asks(ports(hostPort, k)...)))
			}
		})
	}
	parallel(setUp)
	for _, row := range all {
		defer row[0].close()
		for _, c := range row {
			tasks = append(tasks, c.turn)
		}
	}
	rounds := b.turns(b.rounds, 90*time.Second, tasks)
	t := &report.Table{Name: "mappings", Labels: 2, Title: fmt.Sprintf("Pods with more hostPorts (%d rounds)", rounds),
		Head: []string{"", "pod", "ADD ms", "min–max", "/portmap", "/1 port", "DEL ms", "min–max", "/portmap", "/1 port"}}
	for i, p := range mappers() {
		for j, k := range sizes {
			c, theirs := all[i][j], byName(column(all, j), mapIpt)
			row := []string{p.name, plural(k, "hostPort")}
			for _, verb := range []string{add, del} {
				row = append(row, stats.Figure(c.of(verb).Median), interval(c.of(verb)), ratio(c.over(theirs, verb)), ratio(c.over(all[i][0], verb)))
			}
			t.Add(row...)
		}
	}
	b.publish(t)
}
