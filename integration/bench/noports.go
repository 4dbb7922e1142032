// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
)

// noPorts measures what a pod without hostPorts pays for the plugin being in its
// conflist, on a node where another pod has some.
func noPorts(b *bench) {
	all := make([]*contest, len(plugins()))
	var tasks []func()
	for i, p := range plugins() {
		s := b.newSeat(p, "nft")
		defer s.close()
		if p.name != noOp {
			s.hold(1)
		}
		all[i] = newContest(s, s.own)
		tasks = append(tasks, all[i].turn)
	}
	called := 0
	tasks = append(tasks, func() {
		if called++; called%20 == 0 {
			if err := renew(b.bin); err != nil {
				b.Fatalf("%v", err)
			}
		}
	})
	// A few per cent matter here.
	rounds := b.turns(20*b.rounds, 120*time.Second, tasks)
	t := &report.Table{Name: "noports", Labels: 1, Title: fmt.Sprintf("A pod without hostPorts (%d rounds)", rounds),
		Head: []string{"", "ADD ms", "quartiles", "min–max", "/no-op", "DEL ms", "quartiles", "min–max", "/no-op"}}
	for _, c := range all {
		row := []string{c.name}
		for _, verb := range []string{add, del} {
			s := c.of(verb)
			row = append(row, stats.Figure(s.Median), stats.Figure(s.Q1)+"–"+stats.Figure(s.Q3), interval(s), ratio(c.over(all[0], verb)))
		}
		t.Add(row...)
		if c.binary == "portguard" {
			for _, verb := range []string{add, del} {
				b.goal(c.name+": "+verb+" without hostPorts / no-op's", 1.05, c.over(all[0], verb))
			}
		}
	}
	b.publish(t)
}
