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
	goals               verbLimits
}

// verbLimits are the goals of a node, as ratios to portmap's default backend. 0 is none.
type verbLimits struct {
	nftAdd, nftDel, iptAdd float64
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
		{"nft-0", "no rules, iptables-nft", "nft", nothing, verbLimits{0.13, 0.11, 0.35}},
		{"nft-big", thousands(8*k) + " rules, iptables-nft", "nft", from(rules, "iptables-nft-restore", "--noflush"), verbLimits{0.18, 0.11, 0}},
		{"legacy-0", "no rules, iptables-legacy", "legacy", nothing, verbLimits{}},
		{"legacy-big", thousands(8*k) + " rules, iptables-legacy", "legacy", from(rules, "iptables-legacy-restore", "--noflush"), verbLimits{0.06, 0, 0}},
		{"native-big", thousands(elements) + " map elements, nftables", "nft", from(lab.ServiceMap(elements), "nft", "-f", "-"), verbLimits{0.13, 0.11, 0}},
	}
}

// verbPlugins are all, and portguard once more on a node where somebody changes rules
// before each call, as kube-proxy and other plugins do.
func verbPlugins() []plugin {
	stirred := plugin{name: guardNew, binary: "portguard", backend: "nftables", stirred: true}
	return slices.Insert(plugins(), 2, stirred)
}

// verbs measures ADD and DEL of one hostPort of both families on all kinds of
// nodes. Each node has another pod with a hostPort already.
func verbs(b *bench) {
	pictures := map[string]*chart.Chart{}
	for _, verb := range []string{add, del} {
		pictures[verb] = &chart.Chart{Title: verb + " of one hostPort, IPv4 and IPv6", X: "rules of others on the node", Y: "milliseconds", Log: true}
		for _, p := range plugins() { // one colour each
			pictures[verb].Series = append(pictures[verb].Series, chart.Series{Name: p.name, Colour: p.colour})
		}
		b.picture(verb, pictures[verb])
	}
	for _, g := range grounds(b) {
		all := b.onGround(g)
		for verb, c := range pictures {
			c.Groups = append(c.Groups, g.title)
			for i, s := range c.Series {
				one := slices.IndexFunc(all, func(x *contest) bool { return x.name == s.Name })
				c.Series[i].Values = append(s.Values, all[one].of(verb))
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

// verbGoals compares both backends with portmap's default. The nftables backend is
// measured on the node where somebody changes rules before each call, as on a real node.
func (b *bench) verbGoals(g ground, all []*contest) {
	theirs := byName(all, mapIpt)
	for _, limit := range []struct {
		most         float64
		plugin, verb string
	}{
		{g.goals.nftAdd, guardNew, add},
		{g.goals.nftDel, guardNew, del},
		{g.goals.iptAdd, guardIpt, add},
	} {
		if limit.most > 0 {
			b.goal(limit.plugin+": "+limit.verb+" / portmap's, "+g.title, limit.most, byName(all, limit.plugin).over(theirs, limit.verb))
		}
	}
}
