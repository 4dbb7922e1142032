// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A chain that leads to attachments asks for one after the other. With more than
// crowd rules for them it is cut: it leads to a chain for each range of ports
// then, and these to the attachments, or to smaller ranges. So the last of a
// thousand hostPorts is a dozen rules away and not a thousand.
const crowd = 16

// narrower is the width of the chains that a chain is cut into, 0 if it is not.
func narrower(chain string) int {
	s, ok := spanOf(chain)
	for _, w := range widths() {
		if !ok || s.to-s.from+1 > w {
			return w
		}
	}
	return 0
}

// leads reports whether a rule leads to the chain of a range, or into an
// attachment's.
func (l *Layout) leads(rule string) (on, in bool) {
	to := l.targetOf(rule)
	_, on = spanOf(to)
	return on, keyOf(to) != ""
}

// used reports whether a shared chain leads to any attachment. What is not known
// is.
func (l *Layout) used(chain string) bool {
	t := l.tables["nat"]
	return t.unread[chain] || slices.ContainsFunc(t.chains[chain], func(r string) bool {
		on, in := l.leads(r)
		return on || in
	})
}

// kept reports whether a shared chain stays: it is used, or somebody whose rules are
// there has been cut off from it. An empty chain tells an ADD to look at everything.
func (l *Layout) kept(chain string) bool {
	if l.used(chain) || chain == masq {
		return l.used(chain)
	}
	s, ranged := spanOf(chain)
	return slices.ContainsFunc(l.Claims(), func(c hostport.Claim) bool {
		port := int(c.Mapping.HostPort)
		return !ranged || c.Mapping.Proto == s.proto && s.from <= port && port <= s.to
	})
}

func (l *Layout) isCut(chain string) bool {
	return slices.ContainsFunc(l.tables["nat"].chains[chain], func(r string) bool {
		on, _ := l.leads(r)
		return on
	})
}

// way are the chains that packets for a port pass before that of an attachment. The
// last one may be missing still.
func (l *Layout) way(p hostport.Proto, port uint16) []string {
	all := places(p, port)
	for i, chain := range all {
		if !l.isCut(chain) {
			return all[:i+1]
		}
	}
	return all
}

// places are all chains in which rules for a port may stand. Those that somebody has
// cut off from the way are among them.
func places(p hostport.Proto, port uint16) []string {
	out := []string{hostports}
	for _, w := range widths() {
		out = append(out, around(p, port, w).chain())
	}
	return out
}

// enter adds rules that lead to a's chain where each of its ports is asked for.
func (l *Layout) enter(a hostport.Attachment) {
	nat := l.tables["nat"]
	for _, e := range l.entries(a) {
		for i, chain := range e.way[1:] {
			s, _ := spanOf(chain)
			l.lead(e.way[i], s)
		}
		leaf := e.way[len(e.way)-1]
		nat.chains[leaf] = append(nat.chains[leaf], e.rules...)
	}
	for _, e := range l.entries(a) {
		l.cut(e.way[len(e.way)-1])
	}
}

// An entry are the rules for an attachment in the last chain of a way.
type entry struct {
	way   []string
	rules []string
}

// entries are those that a must have, as the chains are cut now: one rule a
// protocol and 15 ports. The user's conditions stand here and so concern this
// attachment only.
func (l *Layout) entries(a hostport.Attachment) []entry {
	var out []entry
	for _, proto := range []hostport.Proto{hostport.TCP, hostport.UDP, hostport.SCTP} {
		var order []string
		ways, ports := map[string][]string{}, map[string][]uint16{}
		for _, m := range a.Of(l.Family) {
			if m.Proto != proto {
				continue
			}
			way := l.way(proto, m.HostPort)
			leaf := way[len(way)-1]
			if ways[leaf] == nil {
				ways[leaf], order = way, append(order, leaf)
			}
			if !slices.Contains(ports[leaf], m.HostPort) {
				ports[leaf] = append(ports[leaf], m.HostPort)
			}
		}
		for _, leaf := range order {
			e := entry{way: ways[leaf]}
			for chunk := range slices.Chunk(ports[leaf], maxMultiport) {
				e.rules = append(e.rules, entryRule(proto, chunk, a.Owner.Comment(), a.Conditions(l.Family), a.Owner.Key()))
			}
			out = append(out, e)
		}
	}
	return out
}

// entryRule leads to the chain of key for some ports. The comment, which is a match
// too, stands behind the ports: most packets get no further.
func entryRule(proto hostport.Proto, ports []uint16, comment string, conditions []string, key string) string {
	args := []string{"-p", proto.String(), "-m", "multiport", "--dports", portList(ports)}
	if len(ports) == 1 && len(conditions) == 0 { // iptables-nft has an expression for it
		args = []string{"-p", proto.String(), "-m", proto.String(), "--dport", portList(ports)}
	}
	args = append(append(args, "-m", "comment", "--comment", comment), conditions...)
	return iptsave.Join(append(args, "-j", dnatPrefix+key)...)
}

// lead makes chain lead to that of s.
func (l *Layout) lead(chain string, s span) {
	nat := l.tables["nat"]
	to := s.chain()
	if _, ok := nat.chains[to]; !ok {
		nat.chains[to] = nil
	}
	if !slices.ContainsFunc(nat.chains[chain], func(r string) bool { return l.targetOf(r) == to }) {
		nat.chains[chain] = append(nat.chains[chain], s.jump())
	}
}

// cut makes a chain with too many rules for attachments, or one that leads to ranges
// already, lead to ranges only.
func (l *Layout) cut(chain string) {
	nat, width := l.tables["nat"], narrower(chain)
	var stay, move []string
	for _, r := range nat.chains[chain] {
		if _, in := l.leads(r); in && len(l.ports(r)) > 0 {
			move = append(move, r)
		} else {
			stay = append(stay, r)
		}
	}
	if width == 0 || len(move) == 0 || len(move) <= crowd && !l.isCut(chain) {
		return
	}
	nat.chains[chain] = stay
	var into []string
	for _, r := range move {
		proto, byRange := l.protoOf(r), map[span][]uint16{}
		for _, p := range l.ports(r) {
			s := around(proto, p, width)
			if len(byRange[s]) == 0 && !slices.Contains(into, s.chain()) {
				into = append(into, s.chain())
				l.lead(chain, s)
			}
			byRange[s] = append(byRange[s], p)
		}
		for s, ports := range byRange {
			nat.chains[s.chain()] = append(nat.chains[s.chain()], l.narrowed(r, ports))
		}
	}
	for _, c := range into {
		l.cut(c)
	}
}

// ports are those that an entry is for, nil if it is none of ours.
func (l *Layout) ports(rule string) []uint16 {
	o, ok := l.spec(rule).Option("--dports")
	if !ok {
		o, _ = l.spec(rule).Option("--dport")
	}
	var out []uint16
	for s := range strings.SplitSeq(o.Value(), ",") {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || o.Not {
			return nil
		}
		out = append(out, uint16(n))
	}
	return out
}

func (l *Layout) protoOf(rule string) hostport.Proto {
	o, _ := l.spec(rule).Option("-p")
	p, _ := hostport.ParseProto(o.Value())
	return p
}

// narrowed is an entry for some of its ports. Conditions stay as iptables has
// printed them; they stand behind the first --dports, which is ours.
func (l *Layout) narrowed(rule string, ports []uint16) string {
	if l.conditional(rule) {
		return withPorts(rule, ports...)
	}
	s := l.spec(rule)
	return entryRule(l.protoOf(rule), ports, s.Comment(), nil, keyOf(s.Target))
}

// withPorts puts others in the place of the first --dports, or --dport, of a rule. With
// none it goes.
func withPorts(rule string, ports ...uint16) string {
	words := iptsave.Split(rule)
	args := make([]string, len(words))
	for i, w := range words {
		args[i] = w.String()
	}
	i := slices.IndexFunc(args, func(a string) bool { return a == "--dports" || a == "--dport" })
	switch {
	case i < 0 || i+1 == len(args):
	case len(ports) == 0:
		args = slices.Delete(args, i, i+2)
	default:
		args[i+1] = portList(ports)
	}
	return iptsave.Join(args...)
}

func portList(ports []uint16) string {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = strconv.Itoa(int(p))
	}
	return strings.Join(list, ",")
}

// prune drops chains of ranges that lead nowhere, with the rules that lead there.
func (l *Layout) prune() {
	nat := l.tables["nat"]
	all := widths()
	for _, w := range slices.Backward(all[:]) {
		for _, chain := range nat.sortedChains() {
			if s, ok := spanOf(chain); !ok || s.to-s.from+1 != w || l.kept(chain) {
				continue
			}
			delete(nat.chains, chain)
			for name, rules := range nat.chains {
				nat.chains[name] = slices.DeleteFunc(rules, func(r string) bool { return l.targetOf(r) == chain })
			}
		}
	}
}
