// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/portguard/portguard/integration/bench/report"
)

// A goal is a ratio that must not be above a limit. Without a limit it is there to
// compare others with.
type goal struct {
	what       string
	limit, got float64
}

// goal notes a measured one.
func (b *bench) goal(what string, limit, got float64) {
	b.goals = append(b.goals, goal{what, limit, got})
}

func (b *bench) goalTable() *report.Table {
	t := &report.Table{Name: "goals", Title: "Goals", Labels: 1, Head: []string{"", "at most", "measured", "reached"}}
	for _, g := range b.goals {
		reached := "no"
		if g.got > 0 && g.got <= g.limit {
			reached = "yes"
		}
		limit := fmt.Sprintf("%.2f", g.limit)
		if g.limit == 0 {
			limit, reached = "-", "-"
		}
		t.Add(g.what, limit, fmt.Sprintf("%.4g", g.got), reached)
	}
	return t
}

// size compares the programs as they are installed.
func size(b *bench) {
	t := &report.Table{Name: "size", Labels: 1, Title: "Size of the programs, built with `CGO_ENABLED=0 go build -trimpath -ldflags \"-s -w\"`",
		Head: []string{"", "bytes", "/portmap"}}
	theirs := float64(b.sizeOf("portmap"))
	for _, program := range []string{"noop", "portguard", "portmap"} {
		bytes := b.sizeOf(program)
		t.Add(program, fmt.Sprint(bytes), ratio(float64(bytes)/theirs))
	}
	b.publish(t)
	b.goal("size of the program / portmap's", 2, float64(b.sizeOf("portguard"))/theirs)
}
