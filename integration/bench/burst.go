// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/portguard/portguard/integration/bench/chart"
	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
)

// burst measures how long as many ADDs at once take until the last one is done,
// and as many DELs.
func burst(b *bench) {
	const pods = 50
	all := make([]*crew, len(plugins()))
	var tasks []func()
	for i, p := range plugins() {
		c := &crew{seat: b.newSeat(p, "nft"), took: map[string][]float64{}, failed: map[string]int{}}
		defer c.close()
		if p.name != noOp {
			c.hold(1)
		}
		for k := range pods {
			c.what = append(c.what, b.unwired(k, ports(hostPort+k, 1)...))
		}
		all[i] = c
		tasks = append(tasks, c.turn)
	}
	rounds := b.turns(b.number(10, 2), 150*time.Second, tasks)
	t := &report.Table{Name: "burst", Labels: 1, Title: fmt.Sprintf("%d pods with one hostPort each at once, until the last is done (%d rounds)", pods, rounds),
		Head: []string{"", "ADD ms", "min–max", "/portmap", "/no-op", "failed", "DEL ms", "min–max", "/portmap", "/no-op", "failed"}}
	picture := &chart.Chart{Title: fmt.Sprintf("%d pods at once", pods), X: "until the last is done", Y: "milliseconds", Log: true, Groups: []string{add, del}}
	for _, c := range all {
		row := []string{c.name}
		series := chart.Series{Name: c.name, Colour: c.colour}
		for _, verb := range []string{add, del} {
			s := stats.Of(c.took[verb])
			series.Values = append(series.Values, s)
			row = append(row, stats.Figure(s.Median), interval(s), ratio(s.Median/median(all, mapIpt, verb)),
				ratio(s.Median/median(all, noOp, verb)), fmt.Sprintf("%d of %d", c.failed[verb], rounds*pods))
		}
		t.Add(row...)
		picture.Series = append(picture.Series, series)
	}
	b.publish(t)
	b.picture("burst", picture)
}

// A crew is a seat with many pods.
type crew struct {
	*seat
	what   []attachment
	took   map[string][]float64
	failed map[string]int
}

// median is that of a plugin's crew.
func median(all []*crew, name, verb string) float64 {
	for _, c := range all {
		if c.name == name {
			return stats.Of(c.took[verb]).Median
		}
	}
	return 0
}

func (c *crew) turn() {
	for _, verb := range []string{add, del} {
		settle()
		errs := make([]error, len(c.what))
		var wg sync.WaitGroup
		start := time.Now()
		for i, a := range c.what {
			wg.Go(func() { _, errs[i] = c.try(verb, a) })
		}
		wg.Wait()
		c.took[verb] = append(c.took[verb], float64(time.Since(start).Microseconds())/1000)
		c.count(verb, errs)
	}
}

// count notes the failures: the time of those who fail is theirs too. Only
// portguard must not.
func (c *crew) count(verb string, errs []error) {
	for _, err := range errs {
		if err == nil {
			continue
		}
		if c.binary == "portguard" {
			c.b.Fatalf("%v", err)
		}
		if c.failed[verb]++; c.failed[verb] == 1 {
			c.b.Logf("%v", err)
		}
	}
}
