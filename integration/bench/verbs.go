// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/portguard/portguard/integration/bench/chart"
	"github.com/portguard/portguard/integration/bench/report"
	"github.com/portguard/portguard/integration/bench/stats"
	"github.com/portguard/portguard/integration/lab"
)

// hostPort is what the pod asks for whose ADD is measured.
const hostPort = 8080

// A ground is a kind of node.
type ground struct {
	key, title, flavour string
	load                func(*lab.Node)
	// guard and free are the goals for ADD and DEL over portmap's and for ADD
	// over the plugin that does nothing; 0 is none.
	guard, free float64
}

func grounds(b *bench) []ground {
	k := b.number(2500, 250)
	elements := b.number(45000, 4500)
	rules := lab.Services(k)
	nothing := func(*lab.Node) {}
	from := func(input string, args ...string) func(*lab.Node) {
		return func(n *lab.Node) { n.Feed(input, args...) }
	}
	return []ground{
		{"nft-0", "no rules, iptables-nft", "nft", nothing, 0.10, 2.5},
		{"nft-big", thousands(8*k) + " rules, iptables-nft", "nft", from(rules, "iptables-nft-restore", "--noflush"), 0.10, 2.5},
		{"legacy-0", "no rules, iptables-legacy", "legacy", nothing, 0, 0},
		{"legacy-big", thousands(8*k) + " rules, iptables-legacy", "legacy", from(rules, "iptables-legacy-restore", "--noflush"), 0.12, 0},
		{"native-big", thousands(elements) + " map elements, nftables", "nft", from(lab.ServiceMap(elements), "nft", "-f", "-"), 0.10, 2.5},
	}
}

// verbPlugins are all, and portguard once more on a node where somebody changes rules
// before each call: what an ADD remembers is of no use there.
func verbPlugins() []plugin {
	stirred := plugin{name: guardNew, binary: "portguard", backend: "nftables", colour: "#009e73", stirred: true}
	return slices.Insert(plugins(), 2, stirred)
}

// verbs measures ADD and DEL of one hostPort of both families on all kinds of
// nodes. Each node has another pod with a hostPort already.
func verbs(b *bench) {
	pictures := map[string]*chart.Chart{}
	for _, verb := range []string{add, del} {
		pictures[verb] = &chart.Chart{Title: verb + " of one hostPort, IPv4 and IPv6", X: "rules of others on the node", Y: "milliseconds", Log: true}
		for _, p := range verbPlugins() {
			pictures[verb].Series = append(pictures[verb].Series, chart.Series{Name: p.name, Colour: p.colour})
		}
		b.picture(verb, pictures[verb])
	}
	for _, g := range grounds(b) {
		all := b.onGround(g)
		for verb, c := range pictures {
			c.Groups = append(c.Groups, g.title)
			for i := range c.Series {
				c.Series[i].Values = append(c.Series[i].Values, all[i].of(verb))
			}
		}
	}
}

func (b *bench) onGround(g ground) []*contest {
	all := make([]*contest, len(verbPlugins()))
	var setUp []func()
	for i, p := range verbPlugins() {
		setUp = append(setUp, func() {
			s := b.newSeat(p, g.flavour)
			g.load(s.node)
			all[i] = newContest(s, s.asks(ports(hostPort, 1)...))
			s.call(add, b.unwired(0, ports(hostPort+1, 1)...))
			all[i].call(add, all[i].what) // makes what all pods share, and is not counted
			all[i].call(del, all[i].what)
		})
	}
	parallel(setUp)
	var tasks []func()
	for _, c := range all {
		tasks = append(tasks, c.turn)
	}
	rounds := b.turns(b.rounds, 75*time.Second, tasks)
	for _, c := range all {
		c.weigh(b.number(7, 3))
		c.close()
	}
	b.publish(verbTable(g, all, rounds))
	b.verbGoals(g, all)
	return all
}

func verbTable(g ground, all []*contest, rounds int) *report.Table {
	t := &report.Table{Name: "verbs-" + g.key, Labels: 1, Title: fmt.Sprintf("On a node with %s (%d rounds)", g.title, rounds),
		Head: []string{"", "ADD ms", "min–max", "/portmap", "/no-op", "DEL ms", "min–max", "/portmap", "/no-op", "processes", "MiB"}}
	for _, c := range all {
		row := []string{c.name}
		for _, verb := range []string{add, del} {
			row = append(row, stats.Figure(c.of(verb).Median), interval(c.of(verb)),
				ratio(c.over(byName(all, mapIpt), verb)), ratio(c.over(byName(all, noOp), verb)))
		}
		t.Add(append(row, strconv.Itoa(c.forks[add])+" + "+strconv.Itoa(c.forks[del]),
			stats.Figure(max(c.memory[add], c.memory[del])))...)
	}
	return t
}

// verbGoals compares the default backend.
func (b *bench) verbGoals(g ground, all []*contest) {
	ours, anew, theirs, nothing := byName(all, guardNft), byName(all, guardNew), byName(all, mapIpt), byName(all, noOp)
	if g.guard > 0 {
		b.goal("ADD / portmap's, "+g.title, g.guard, ours.over(theirs, add))
		b.goal("the same, rules changed before", g.guard, anew.over(theirs, add))
		b.goal("DEL / portmap's, "+g.title, g.guard, ours.over(theirs, del))
	}
	if g.free > 0 {
		b.goal("ADD / no-op's, "+g.title, g.free, ours.over(nothing, add))
		b.goal("the same, rules changed before", g.free, anew.over(nothing, add))
	}
	if g.key == "nft-0" {
		b.goal("peak memory of ADD / portmap's", 1, stats.Ratio(ours.memory[add], theirs.memory[add]))
		b.goal("peak memory of DEL / portmap's", 1, stats.Ratio(ours.memory[del], theirs.memory[del]))
	}
}
