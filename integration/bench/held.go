// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portguard/portguard/integration/bench/chart"
	"github.com/portguard/portguard/integration/bench/load"
	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
)

// A crowd is what a node has before the ADD that is measured.
type crowd struct {
	title   string
	ports   int
	sockets int
}

// The places of those crowds that goals and columns speak of.
const (
	nobody = iota
	onePort
	_
	manyPorts
)

func crowds(b *bench) []crowd {
	hundred, thousand, sockets := b.number(100, 20), b.number(1000, 60), b.number(50000, 2000)
	return []crowd{
		{"0 held", 0, 0},
		{"1 held", 1, 0},
		{thousands(hundred) + " held", hundred, 0},
		{thousands(thousand) + " held", thousand, 0},
		{"1 held, " + thousands(sockets) + " sockets", 1, sockets},
	}
}

// held measures ADD and DEL of one hostPort on nodes on which many are held or
// many connections are open.
func held(b *bench) {
	all, done := b.crowded()
	defer done()
	var tasks []func()
	for _, row := range all {
		for _, c := range row {
			tasks = append(tasks, c.turn)
		}
	}
	rounds := b.turns(2*b.rounds, 150*time.Second, tasks)
	t := &report.Table{Name: "held", Labels: 2, Title: fmt.Sprintf("One hostPort on a node that has others (%d rounds)", rounds),
		Head: []string{"", "node", "ADD ms", "min–max", "/0 held", "/1 held", "DEL ms", "min–max", "/0 held", "/1 held"}}
	picture := &chart.Chart{Title: "ADD of one hostPort on a node that has others", X: "hostPorts held, connections open", Y: "milliseconds", Log: true}
	for _, k := range crowds(b) {
		picture.Groups = append(picture.Groups, k.title)
	}
	for i, p := range mappers() {
		series := chart.Series{Name: p.name, Colour: p.colour}
		for j, k := range crowds(b) {
			c := all[i][j]
			row := []string{p.name, k.title}
			for _, verb := range []string{add, del} {
				row = append(row, stats.Figure(c.of(verb).Median), interval(c.of(verb)),
					ratio(c.over(all[i][nobody], verb)), ratio(c.over(all[i][onePort], verb)))
			}
			t.Add(row...)
			series.Values = append(series.Values, c.of(add))
		}
		picture.Series = append(picture.Series, series)
	}
	b.heldGoals(all)
	b.publish(t)
	b.picture("held", picture)
}

// heldGoals compares each backend of portguard with portmap's default where many
// hostPorts are held.
func (b *bench) heldGoals(all [][]*contest) {
	crowd, many := crowds(b), column(all, manyPorts)
	theirs := byName(many, mapIpt)
	for _, name := range []string{guardNft, guardIpt} {
		b.goal(name+": ADD / portmap's, "+crowd[manyPorts].title, 1, byName(many, name).over(theirs, add))
	}
}

// crowded makes the nodes: for each plugin one with each crowd. They exist at the
// same time.
func (b *bench) crowded() (all [][]*contest, done func()) {
	var numbers []int
	for _, k := range crowds(b) {
		if k.sockets == 0 && k.ports > 0 {
			numbers = append(numbers, k.ports)
		}
	}
	b.heldSeats(mappers(), numbers)
	var finish []func()
	for _, p := range mappers() {
		var row []*contest
		for _, k := range crowds(b) {
			s := b.heldSeat(p.name, k.ports)
			if s == nil || k.sockets > 0 {
				s = b.newSeat(p, "nft")
				s.hold(k.ports)
				finish = append(finish, s.close)
			}
			if k.sockets > 0 {
				finish = append(finish, s.connections(k.sockets/2)...)
			}
			c := newContest(s, s.asks(ports(hostPort, 1)...))
			c.call(add, c.what)
			c.call(del, c.what)
			row = append(row, c)
		}
		all = append(all, row)
	}
	return all, func() {
		for _, f := range slices.Backward(finish) {
			f()
		}
	}
}

// connections opens some on the node, over loopback. A process has not more than
// perProcess of them, so that its two sockets for each fit into the usual limits.
func (s *seat) connections(count int) (stop []func()) {
	const perProcess, from = 5000, 7000
	for i := 0; i*perProcess < count; i++ {
		l := s.b.load(load.Job{Hold: &load.Hold{Namespace: s.node.Path, Port: uint16(from + i), Connections: min(perProcess, count-i*perProcess)}})
		stop = append(stop, l.stop)
	}
	if n := strings.Count(s.node.Run("ss", "-Htn", "state", "established"), "\n"); n < 2*count {
		s.b.Fatalf("%d connections have only %d sockets", count, n)
	}
	return stop
}
