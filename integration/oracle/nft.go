// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// A Table is what a native nftables set has that iptables' nat tables have not:
// a name, a family, hooks of its own choice, and named sets and maps.
type Table struct {
	Family  string // "ip", "ip6" or "inet"
	Name    string
	Dormant bool
	// Awakes is set if it is dormant until all its chains are there.
	Awakes  bool
	Bases   []Base
	Objects []string
}

// A Base is a chain at a hook.
type Base struct {
	Name, Type, Hook string
	Priority         int
	Policy           string
}

// priorities are on both sides of dstnat (-100), where iptables and kube-proxy
// sit, and equal to it: there the order of registration decides.
func priorities() []int { return []int{-150, -110, -101, -100, -100, -99, -95, 0} }

// script is the table as nft reads it.
func (t Table) script(chains []string, rules []Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", t.Family, t.Name)
	if t.Dormant || t.Awakes {
		b.WriteString("\tflags dormant\n")
	}
	for _, o := range t.Objects {
		fmt.Fprintf(&b, "\t%s\n", o)
	}
	for _, c := range t.Bases {
		hook := fmt.Sprintf("type %s hook %s priority %d; policy %s;", c.Type, c.Hook, c.Priority, c.Policy)
		writeChain(&b, c.Name, hook, rules)
	}
	for _, c := range chains {
		writeChain(&b, c, "", rules)
	}
	b.WriteString("}\n")
	if t.Awakes {
		fmt.Fprintf(&b, "add table %s %s\n", t.Family, t.Name)
	}
	return b.String()
}

func writeChain(b *strings.Builder, name, hook string, rules []Rule) {
	fmt.Fprintf(b, "\tchain %s {\n", name)
	if hook != "" {
		fmt.Fprintf(b, "\t\t%s\n", hook)
	}
	for _, r := range rules {
		if r.Chain == name {
			fmt.Fprintf(b, "\t\t%s\n", r.Text)
		}
	}
	b.WriteString("\t}\n")
}

// native draws one table. Its draws go on from those of the caller.
type native struct {
	*gen
	table *Table
	// v6 is the family of the rule being drawn: in an inet table nft refuses
	// rules that mix both.
	v6 bool
	// proto is the protocol that the rule has matched: "tcp", "udp", "both" or
	// "". nft lets nothing translate ports without one.
	proto string
	// hook is that of the base chain the rule stands in, or "". Early is set before every
	// translation: a drop behind it would be one of the pod's packets.
	hook  string
	early bool
}

// native draws the n-th native table of a node.
func (g *gen) native(n int) Set {
	t := &Table{Name: fmt.Sprintf("t%d", n), Family: "ip"}
	if g.v6 {
		t.Family = "ip6"
	}
	if g.IntN(2) == 0 {
		t.Family = "inet"
	}
	d := &native{gen: g, table: t}
	s := Set{Flavour: "native", V6: g.v6, Table: t}
	t.Bases = d.bases()
	for i := range g.IntN(4) {
		s.Chains = append(s.Chains, fmt.Sprintf("c%d", i))
	}
	for _, b := range t.Bases {
		s.Rules = append(s.Rules, d.rules(b.Name, b.Hook, s.Chains)...)
	}
	for i, c := range s.Chains {
		// Chains lead only to later ones: the kernel refuses loops.
		s.Rules = append(s.Rules, d.rules(c, "", s.Chains[i+1:])...)
	}
	if d.IntN(2) == 0 {
		d.beside(&s)
	}
	if d.IntN(4) == 0 {
		d.motif(&s)
	}
	t.Dormant = d.IntN(12) == 0
	return s
}

// bases draws the base chains: mostly one at each hook, as every port mapper
// has, sometimes one alone or two at the same hook.
func (d *native) bases() []Base {
	hooks := [][]string{
		{"prerouting", "output"}, {"prerouting", "output"}, {"output", "prerouting"},
		{"prerouting"}, {"output"}, {"prerouting", "prerouting"},
	}[d.IntN(6)]
	var out []Base
	for i, h := range hooks {
		b := Base{Name: fmt.Sprintf("b%d", i), Type: "nat", Hook: h, Policy: "accept"}
		b.Priority = priorities()[d.IntN(len(priorities()))]
		if d.IntN(40) == 0 {
			b.Policy = "drop"
		}
		out = append(out, b)
	}
	return out
}

func (d *native) rules(chain, hook string, further []string) []Rule {
	d.hook = hook
	var out []Rule
	for range 1 + d.IntN(4) {
		out = append(out, Rule{Chain: chain, Text: d.rule(further)})
	}
	return out
}

// rule draws the matches and the verdict of a rule.
func (d *native) rule(further []string) string {
	d.v6 = d.gen.v6
	if d.table.Family == "inet" && d.IntN(4) == 0 {
		d.v6 = !d.v6
	}
	m := d.protocol()
	if d.IntN(4) > 0 {
		m = append(m, d.dport())
	}
	for range d.IntN(3) {
		m = append(m, d.match())
	}
	if d.IntN(5) == 0 {
		m = append(m, d.counted())
	}
	return strings.Join(append(m, d.verdict(further)), " ")
}

// protocol draws what comes first in a rule and sets d.proto.
func (d *native) protocol() []string {
	d.proto = ""
	header := "ip protocol "
	if d.v6 {
		header = "ip6 nexthdr "
	}
	switch n := d.IntN(20); {
	case n < 4: // "tcp dport" says it
		d.proto = d.pick("tcp", "tcp", "udp")
		return []string{d.proto + " dport " + d.ports()}
	case n < 9:
		d.proto = d.pick("tcp", "tcp", "udp")
		return []string{d.pick("meta l4proto ", "meta l4proto ", header) + d.proto}
	case n < 14:
		d.proto = "both"
		return []string{d.pick("meta l4proto { tcp, udp }", "meta l4proto { tcp, udp }", "meta l4proto { tcp, udp, sctp }")}
	case n < 16:
		return []string{"meta l4proto != " + d.pick("tcp", "udp", "icmp", "{ udp, icmp }")}
	}
	return nil
}

// counted counts packets, now and then those of a port only: what the map does not hold ends the rule.
func (d *native) counted() string {
	if d.proto == "" || d.IntN(3) > 0 {
		return "counter"
	}
	if o := "counter k { }"; !slices.Contains(d.table.Objects, o) {
		d.table.Objects = append(d.table.Objects, o)
	}
	return "counter name th dport map { " + d.pick("8080", "8080", "8081") + ` : "k" }`
}

// nfAddr is "ip" or "ip6", as the rule's family is written.
func (d *native) nfAddr() string {
	if d.v6 {
		return "ip6"
	}
	return "ip"
}

// eq negates now and then.
func (d *native) eq() string {
	if d.IntN(5) == 0 {
		return "!= "
	}
	return ""
}
