// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
	"github.com/portguard/portguard/integration/lab"
)

// binds measures what it costs that ports are held: a bind to one that is not, a bind that is
// refused, and ADD and DEL of a hostPort.
func binds(b *bench) {
	reserveVerbs(b)
	p := plugin{name: guardNft, binary: "portguard", backend: "nftables"}
	s := b.newSeat(p, "nft")
	defer s.close()
	many := b.number(1000, 60)
	t := &report.Table{Name: "binds", Labels: 2, Title: fmt.Sprintf("CPU time of a socket that is opened, bound and closed (the least of %d parts of %s of them)",
		partsOfBinds, thousands(b.binds())),
		Head: []string{"", "socket", "bind ns", "/no program", "all ns", "/no program"}}
	first := map[string]bound{}
	for _, k := range []struct {
		title string
		set   func()
		port  int
	}{
		{"no program", unpin, hostPort},
		{"nothing held", func() { s.call(add, s.asks(ports(hostPort, 1)...)); s.call(del, s.own) }, hostPort},
		{thousands(many) + " held, not this one", func() { s.hold(many) }, hostPort},
		{thousands(many) + " held, refused", func() {}, heldFrom},
	} {
		k.set()
		for _, network := range []string{"tcp4", "udp4", "tcp6"} {
			got := b.bind(s.node, lab.Socket{Network: network}, k.port, k.port == heldFrom)
			if first[network].all == 0 {
				first[network] = got
			}
			t.Add(k.title, network, stats.Figure(got.bind), ratio(got.bind/first[network].bind), stats.Figure(got.all), ratio(got.all/first[network].all))
		}
	}
	b.publish(t)
}

// reserveVerbs compares an ADD and a DEL that hold ports with those that do not.
func reserveVerbs(b *bench) {
	var all []*contest
	var tasks []func()
	for _, p := range []plugin{
		{name: guardNft, binary: "portguard", backend: "nftables"},
		{name: guardNft + `, "reserve": "off"`, binary: "portguard", backend: "nftables", reserve: "off"},
		{name: mapIpt, binary: "portmap", backend: "iptables"},
	} {
		s := b.newSeat(p, "nft")
		defer s.close()
		s.hold(1)
		c := newContest(s, s.asks(ports(hostPort, 1)...))
		c.call(add, c.what)
		c.call(del, c.what)
		all, tasks = append(all, c), append(tasks, c.turn)
	}
	rounds := b.turns(3*b.rounds, 75*time.Second, tasks)
	t := &report.Table{Name: "reserve", Labels: 1, Title: fmt.Sprintf("One hostPort, held and not held (%d rounds)", rounds),
		Head: []string{"", "ADD ms", "min–max", "/off", "/portmap", "DEL ms", "min–max", "/off", "/portmap"}}
	for _, c := range all {
		row := []string{c.name}
		for _, verb := range []string{add, del} {
			row = append(row, stats.Figure(c.of(verb).Median), interval(c.of(verb)), ratio(c.over(all[1], verb)), ratio(c.over(all[2], verb)))
		}
		t.Add(row...)
	}
	b.publish(t)
}

// unpin detaches all programs, which the next ADD attaches anew.
func unpin() {
	for _, dir := range lab.Pins() {
		_ = os.RemoveAll(dir)
	}
}

// bound is the CPU time of one socket in nanoseconds: of the bind, and of all that it takes.
type bound struct{ bind, all float64 }

const partsOfBinds = 20

func (b *bench) binds() int { return b.number(10000, 200) }

// bind binds sockets to a port, one by one.
func (b *bench) bind(n *lab.Node, s lab.Socket, port int, refused bool) bound {
	var binds, all []float64
	var failed error
	n.Do(func() {
		for range partsOfBinds {
			with := b.each(func(fd int) error {
				if err := s.Bind(fd, port); refused != errors.Is(err, unix.EADDRINUSE) || !refused && err != nil {
					return fmt.Errorf("a bind of %+v to %d: %w", s, port, err)
				}
				return nil
			}, s, &failed)
			without := b.each(func(int) error { return nil }, s, &failed)
			all, binds = append(all, with), append(binds, with-without)
		}
	})
	if failed != nil {
		b.Fatalf("%v", failed)
	}
	return bound{stats.Of(binds).Min, stats.Of(all).Min}
}

// each opens many sockets, does something with each and closes it. It returns the CPU time of
// one: what others do on the machine is no part of it.
func (b *bench) each(do func(fd int) error, s lab.Socket, failed *error) float64 {
	began := threadTime()
	for range b.binds() {
		fd, err := s.Open()
		if err == nil {
			err = do(fd)
			unix.Close(fd)
		}
		if err != nil {
			*failed = err
			return 0
		}
	}
	return float64((threadTime() - began).Nanoseconds()) / float64(b.binds())
}

// threadTime is the CPU time of the calling thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // the kernel has it
	return time.Duration(ts.Nano())
}
