// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/portguard/portguard/integration/bench/stats"
	"github.com/portguard/portguard/integration/lab"
)

// What plugins are called with.
const (
	add   = "ADD"
	check = "CHECK"
	del   = "DEL"
)

// A contest is a series of ADDs and DELs of one attachment at one seat.
type contest struct {
	*seat
	what   attachment
	took   map[string][]float64
	forks  map[string]int
	memory map[string]float64
}

func newContest(s *seat, what attachment) *contest {
	return &contest{s, what, map[string][]float64{}, map[string]int{}, map[string]float64{}}
}

// turn is one ADD and one DEL.
func (c *contest) turn() {
	for _, verb := range []string{add, del} {
		c.stir()
		settle()
		c.took[verb] = append(c.took[verb], c.call(verb, c.what))
	}
}

// stir makes two transactions that leave everything as it was.
func (c *contest) stir() {
	if c.stirred {
		c.node.Feed("add table ip stirred\n", "nft", "-f", "-")
		c.node.Feed("delete table ip stirred\n", "nft", "-f", "-")
	}
}

// weigh counts processes and takes the median of the peaks of memory, in MiB. It
// is not part of the timed rounds: ptrace slows what it watches.
func (c *contest) weigh(times int) {
	peaks := map[string][]float64{}
	for range times {
		for _, verb := range []string{add, del} {
			c.stir()
			cost := c.trace(verb, c.what)
			c.forks[verb] = cost.Children
			peaks[verb] = append(peaks[verb], float64(cost.Memory)/1024)
		}
	}
	for verb, p := range peaks {
		c.memory[verb] = stats.Of(p).Median
	}
}

func (c *contest) of(verb string) stats.Summary { return stats.Of(c.took[verb]) }

// over compares medians.
func (c *contest) over(other *contest, verb string) float64 {
	return stats.Ratio(c.of(verb).Median, other.of(verb).Median)
}

// byName finds a plugin's contest.
func byName(all []*contest, name string) *contest {
	for _, c := range all {
		if c.name == name {
			return c
		}
	}
	return nil
}

// column takes the j-th contest of each plugin.
func column(all [][]*contest, j int) []*contest {
	var out []*contest
	for _, row := range all {
		out = append(out, row[j])
	}
	return out
}

// interval prints the lowest and the highest.
func interval(s stats.Summary) string {
	return stats.Figure(s.Min) + "–" + stats.Figure(s.Max)
}

func ratio(r float64) string {
	if r == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", r)
}

// ports are count mappings to TCP from a hostPort on.
func ports(from, count int) []lab.Port {
	out := make([]lab.Port, count)
	for i := range out {
		out[i] = lab.TCP(from+i, 80+i)
	}
	return out
}
