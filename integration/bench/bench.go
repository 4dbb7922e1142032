// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/portguard/portguard/integration/bench/chart"
	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/lab"
)

// A bench is one run of the benchmark.
type bench struct {
	janitor
	rounds int
	quick  bool
	// bin has the programs, state the directories of the plugins.
	bin, state string

	tables []*report.Table
	charts map[string]*chart.Chart
	goals  []goal

	mu    sync.Mutex
	idle  []*lab.Pod
	nodes map[string]*seat
}

// A scenario ends after its rounds, or after its time if it had so many rounds.
const leastRounds = 5

// turns calls all tasks in each round, in an order drawn anew. It returns the
// number of rounds.
func (b *bench) turns(rounds int, limit time.Duration, tasks []func()) int {
	order := rand.New(rand.NewPCG(1, 2))
	start := time.Now()
	for r := range rounds {
		if r >= leastRounds && time.Since(start) > limit {
			return r
		}
		for _, i := range order.Perm(len(tasks)) {
			tasks[i]()
		}
	}
	return rounds
}

// number is n, or less for a quick look.
func (b *bench) number(n, quick int) int {
	if b.quick {
		return quick
	}
	return n
}

// publish prints a table and keeps it for the document.
func (b *bench) publish(t *report.Table) {
	fmt.Print(t.Text())
	b.tables = append(b.tables, t)
}

// picture keeps one for the document.
func (b *bench) picture(name string, c *chart.Chart) {
	if b.charts == nil {
		b.charts = map[string]*chart.Chart{}
	}
	b.charts[name] = c
}

// thousands prints 20000 as 20,000.
func thousands(n int) string {
	s := fmt.Sprint(n)
	if len(s) > 3 {
		return s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s
}

// plural is for a number of things.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + strings.TrimSuffix(one, "s") + "s"
}
