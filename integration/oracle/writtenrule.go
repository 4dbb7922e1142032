// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// A writing is something that rules write into packets beside marks, and what asks for it: of nft
// and of iptables, "" where that has no words for it. Of V two values are drawn.
type writing struct {
	write, ask, target, match string
	values                    [2]string
}

func writings(v6 bool) []writing {
	ip, hops, ttl, hop := "ip", "ttl", "TTL --ttl-set V", "-m ttl NOT--ttl-eq V"
	if v6 {
		ip, hops, ttl, hop = "ip6", "hoplimit", "HL --hl-set V", "-m hl NOT--hl-eq V"
	}
	return []writing{
		{ip + " dscp set V", ip + " dscp NOTV", "DSCP --set-dscp V", "-m dscp NOT--dscp V", [2]string{"0x08", "0x12"}},
		{"", "", "TOS --or-tos V", "-m tos NOT--tos V/V", [2]string{"0x20", "0x08"}},
		{ip + " " + hops + " set V", ip + " " + hops + " NOTV", ttl, hop, [2]string{"77", "78"}},
		{"meta priority set V", "meta priority NOTV", "", "", [2]string{"0x10002", "0x30004"}},
		{"ct label set V", "ct label V", "", "", [2]string{"5", "77"}},
	}
}

// writtenRule has a rule write into packets, and another one translate those that have what it wrote,
// or something else. It draws from numbers of its own, as socketRule does.
func writtenRule(seed uint64, sets []Set) {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0x7772697474656e))}
	if g.IntN(3) > 0 {
		return
	}
	from, to := &sets[g.IntN(len(sets))], &sets[g.IntN(len(sets))]
	hook := g.pick("prerouting", "output")
	nat := strings.ToUpper(hook)
	if to.Table != nil {
		i := slices.IndexFunc(to.Table.Bases, func(b Base) bool { return b.Type == "nat" && b.Hook == hook })
		if i < 0 {
			return
		}
		nat = to.Table.Bases[i].Name
	}
	w := writings(from.V6)[g.IntN(5)]
	write, ask := w.target, w.match
	if from.Table != nil {
		write = w.write
	}
	if to.Table != nil {
		ask = w.ask
	}
	if write == "" || ask == "" {
		return
	}
	proto, not := g.pick("tcp", "udp"), g.pick("", "", "!= ")
	if to.Table == nil {
		not = strings.Replace(not, "!=", "!", 1)
	}
	ask = strings.ReplaceAll(strings.ReplaceAll(ask, "NOT", not), "V", w.values[g.IntN(4)/3])
	for i := range 1 + g.IntN(2) {
		from.first(g, hook, i, proto, strings.ReplaceAll(write, "V", w.values[g.IntN(4)/3]))
	}
	r := Rule{Chain: nat, Text: "-p " + proto + " " + ask + " -j REDIRECT --to-ports 9998"}
	if to.Table != nil {
		r.Text = "meta l4proto " + proto + " " + ask + " redirect to :9998"
	}
	to.Rules = slices.Insert(to.Rules, 0, r)
}

// first adds the n-th rule that writes, for some of the packets now and then.
func (s *Set) first(g *gen, hook string, n int, proto, write string) {
	some := g.IntN(3) == 0
	if s.Table == nil {
		text := "-p " + proto
		if some {
			text += " -m " + proto + " --dport 8080"
		}
		s.Rules = append(s.Rules, Rule{Table: "mangle", Chain: strings.ToUpper(hook), Text: text + " -j " + write})
		return
	}
	if n == 0 {
		s.Table.Bases = append(s.Table.Bases, Base{Name: "w0", Type: "filter", Hook: hook, Priority: -149, Policy: "accept"})
	}
	text := "meta l4proto " + proto
	if some {
		text += " th dport 8080"
	}
	s.Rules = append(s.Rules, Rule{Chain: "w0", Text: text + " " + write})
}
