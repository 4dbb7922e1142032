// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// xtables is a table of iptables as a program. It decodes each chain at most
// once.
type xtables struct {
	table *iptsave.Table
	skip  func(chain string) bool
	sets  Sets
	cache map[string][]rule
	is4   bool
	// nft is set if the table is nf_tables' own: there a rule may hold what
	// iptables cannot show.
	nft bool
	// forward: what was translated had another destination before.
	forward bool
}

// Options are what a walk of iptables rules needs besides them.
type Options struct {
	Family hostport.Family
	// NFT is set for the nft flavour.
	NFT bool
	// Skip tells our own chains, to which jumps are not followed.
	Skip func(chain string) bool
	// Sets are the node's ipsets; nil leaves set matches open.
	Sets Sets
	// Forward is set for a walk at that hook.
	Forward bool
}

// New returns a Walker for t, which may be nil.
func New(t *iptsave.Table, o Options) *Walker {
	is4 := o.Family == hostport.IPv4
	return &Walker{is4: is4, prog: &xtables{table: t, is4: is4, nft: o.NFT, skip: o.Skip, sets: o.Sets, forward: o.Forward, cache: map[string][]rule{}}}
}

func (x *xtables) rules(name string) ([]rule, error) {
	if rs, ok := x.cache[name]; ok {
		return rs, nil
	}
	c := x.table.Chain(name)
	if c == nil {
		return nil, nil
	}
	rs := make([]rule, 0, len(c.Rules))
	for _, ru := range c.Rules {
		rs = append(rs, x.compile(ru))
	}
	x.cache[name] = rs
	return rs, nil
}

// An xtRule is a decoded rule: conds are the matches the walk keeps track of,
// rest the others.
type xtRule struct {
	x     *xtables
	spec  iptsave.Spec
	text  string
	conds []cond
	rest  []iptsave.Option
	// limited means that addrtype asks for one interface only, which the walk
	// does not know.
	limited bool
}

func (x *xtables) compile(r iptsave.Rule) *xtRule {
	c := &xtRule{x: x, spec: r.Spec(), text: r.Text}
	for _, o := range c.spec.Matches {
		if strings.HasPrefix(o.Name, "--limit-iface-") {
			c.limited = true
		}
		if cond, ok := condition(o, x.is4); ok && !original(o, x.forward) {
			c.conds = append(c.conds, cond)
		} else {
			c.rest = append(c.rest, o)
		}
	}
	return c
}

// Match answers for a single rule of the table of w, which must be one of
// iptables.
func (w *Walker) Match(r iptsave.Rule, p Packet) (Tri, error) {
	x, ok := w.prog.(*xtables)
	if !ok {
		return Unknown, nil
	}
	_, _, m, err := x.compile(r).match(p, p.start())
	return m, err
}

func (r *xtRule) ours() bool { return r.x.skip != nil && r.x.skip(r.spec.Target) }

func (r *xtRule) eval(p Packet, s space) ([]outcome, space, bool, error) {
	in, out, m, err := r.match(p, s)
	if m == No || err != nil {
		return nil, s, false, err
	}
	if marked, ok := mark(r.spec, in); ok {
		return nil, append(out[:len(out):len(out)], marked...), true, nil
	}
	k := r.x.kind(r.spec)
	if k == keepsOn {
		return nil, s, false, nil
	}
	return []outcome{{in: in, kind: k, chain: r.spec.Target, leave: r.spec.Goto, hop: r.hop(m)}}, out, false, nil
}

// hop describes the rule for a path.
func (r *xtRule) hop(m Tri) Hop {
	h := Hop{Text: r.text, Comment: r.spec.Comment(), Target: r.spec.Target, To: r.spec.ToDestination(), Match: m,
		NamesPort: r.spec.Target == ""}
	for _, o := range r.spec.Matches {
		switch o.Name {
		case "--dport", "--dports", "--ports", "--ctorigdstport", "--match-set":
			h.NamesPort = h.NamesPort || !o.Not
		case "-d":
			h.Specific = !o.Not
		}
	}
	return h
}

// match splits s into the packets that may match the rule and those that may
// not; a packet can be in both. The answer is Yes if all match, and Unknown if
// it hangs on something that was not understood.
func (r *xtRule) match(p Packet, s space) (in, out space, m Tri, err error) {
	conds, all, err := r.others(p)
	if all == No || err != nil || r.misses(s) {
		return nil, s, No, err
	}
	sure := true
	for _, b := range s {
		hit, miss, known := split(b, conds, p.Family())
		in, out, sure = append(in, hit...), append(out, miss...), sure && known
	}
	switch {
	case len(in) == 0:
		return nil, s, No, nil
	case all != Yes:
		out = s // what leaves it open may fail for any packet
	case len(out) > 0:
		all = Some
	}
	if !sure {
		all = Unknown
	}
	return in, out, all, nil
}

// others answers for the matches besides r.conds, and adds to those the ones that
// the node's addresses or an ipset make conditions of.
func (r *xtRule) others(p Packet) (conds []cond, all Tri, err error) {
	all, conds = Yes, r.conds
	add := func(c cond) { conds = append(conds[:len(conds):len(conds)], c) }
	for _, o := range r.rest {
		var t Tri
		if o.Name == "--match-set" {
			var c *cond
			if t, c, err = r.x.matchSet(o, p); err != nil {
				return nil, No, err
			}
			if c != nil {
				c.not = o.Not
				add(*c)
				continue
			}
			if o.Not {
				t = t.not()
			}
		} else {
			a := optionTest(o, p, r.limited)
			if a.cond != nil {
				add(*a.cond)
				continue
			}
			t = a.always
		}
		if t == No {
			return nil, No, nil
		}
		all = weaker(all, t)
	}
	return conds, all, nil
}

// misses rejects at once what is for other destinations, as nearly all of
// kube-proxy's rules are.
func (r *xtRule) misses(s space) bool {
	for _, c := range r.conds {
		if c.kind != onDst || c.not {
			continue
		}
		hit := false
		for _, b := range s {
			hit = hit || overlap(b.dst, c.addrs)
		}
		if !hit {
			return true
		}
	}
	return false
}

// mark applies the targets that change the mark. What CONNMARK restores, and HMARK
// makes of a hash, is not known.
func mark(spec iptsave.Spec, s space) (space, bool) {
	if spec.Target != "MARK" && spec.Target != "CONNMARK" && spec.Target != "HMARK" {
		return nil, false
	}
	value, mask, ok := uint32(0), uint32(0), false
	for _, o := range spec.TargetOptions {
		if spec.Target == "MARK" && (o.Name == "--set-xmark" || o.Name == "--set-mark") {
			value, mask, ok = parseMark(o.Value())
		}
	}
	out := make(space, 0, len(s))
	for _, b := range s {
		if b.mark = b.mark.set(value, mask); !ok {
			b.mark = bits{}
		}
		out = append(out, b)
	}
	return out, true
}

// kind says what a rule's target does to the walk.
func (x *xtables) kind(spec iptsave.Spec) kind {
	if spec.Target == "" {
		// iptables-nft-save prints some native rules without what they do (a
		// verdict map). Its own rules without a target have a comment.
		if _, comment := spec.Option("--comment"); x.nft && !comment {
			return mayDoAnything
		}
		return keepsOn
	}
	if k, ok := targetKind(spec.Target); ok {
		return k
	}
	if x.skip != nil && x.skip(spec.Target) {
		return keepsOn
	}
	if x.table.Chain(spec.Target) != nil {
		return jumps
	}
	return mayDoAnything
}

// targetKind knows the xtables targets by name (the kernel's net/netfilter and
// net/ipv4/netfilter).
func targetKind(name string) (kind, bool) {
	switch name {
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SECMARK", "CONNSECMARK", "CLASSIFY",
		"TRACE", "SET", "TOS", "DSCP", "ECN", "TTL", "HL", "TCPMSS", "TCPOPTSTRIP", "CHECKSUM",
		"AUDIT", "IDLETIMER", "LED", "RATEEST", "TEE", "CT", "NOTRACK", "HMARK":
		return keepsOn, true
	case "DNAT", "REDIRECT", "NETMAP", "TPROXY":
		return translates, true
	case "ACCEPT", "DROP", "REJECT", "QUEUE", "NFQUEUE", "SNAT", "MASQUERADE":
		return ends, true
	case "RETURN":
		return returns, true
	}
	return keepsOn, false
}
