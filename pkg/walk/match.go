// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/iptsave"
)

// A Tri says how many packets of the set match.
type Tri uint8

// Some and Unknown both leave the question open. Some means that the rule was
// understood and depends on what the set leaves free (the source, a counter);
// Unknown means that it was not understood, or hangs on a mark set elsewhere.
const (
	No Tri = iota
	Yes
	Some
	Unknown
)

// weaker returns the less certain of two answers that are not No.
func weaker(a, b Tri) Tri { return max(a, b) }

func (t Tri) not() Tri {
	switch t {
	case No:
		return Yes
	case Yes:
		return No
	case Some, Unknown:
	}
	return t
}

func yesIf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// A rule is a decoded rule: conds are the matches the walk keeps track of, rest
// the others.
type rule struct {
	spec  iptsave.Spec
	text  string
	conds []cond
	rest  []iptsave.Option
	// limited means that addrtype asks for one interface only, which the walk
	// does not know.
	limited bool
}

func limited(o iptsave.Option) bool { return strings.HasPrefix(o.Name, "--limit-iface-") }

func compile(r iptsave.Rule, is4 bool) rule {
	c := rule{spec: r.Spec(), text: r.Text}
	for _, o := range c.spec.Matches {
		if limited(o) {
			c.limited = true
		}
		if cond, ok := condition(o, is4); ok {
			c.conds = append(c.conds, cond)
		} else {
			c.rest = append(c.rest, o)
		}
	}
	return c
}

// match splits s into the packets that may match the rule and those that may
// not; a packet can be in both. The answer is Yes if all match, and Unknown if
// it hangs on something that was not understood.
func (r rule) match(p Packet, s space) (in, out space, m Tri) {
	all := Yes
	for _, o := range r.rest {
		t := matchOption(o, p)
		if r.limited && o.Module == "addrtype" {
			t = Some
		}
		if o.Not {
			t = t.not()
		}
		if t == No {
			return nil, s, No
		}
		all = weaker(all, t)
	}
	if r.misses(s) {
		return nil, s, No
	}
	sure := true
	for _, b := range s {
		hit, miss, known := split(b, r.conds, p.Family())
		in, out, sure = append(in, hit...), append(out, miss...), sure && known
	}
	switch {
	case len(in) == 0:
		return nil, s, No
	case all != Yes:
		out = s // what leaves it open may fail for any packet
	case len(out) > 0:
		all = Some
	}
	if !sure {
		all = Unknown
	}
	return in, out, all
}

// misses rejects at once what is for other destinations, as nearly all of
// kube-proxy's rules are.
func (r rule) misses(s space) bool {
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

func overlap(a, b addrset.Set) bool {
	for _, x := range a {
		for _, y := range b {
			if !x.Hi.Less(y.Lo) && !y.Hi.Less(x.Lo) {
				return true
			}
		}
	}
	return false
}

// matchOption answers for o without its negation.
func matchOption(o iptsave.Option, p Packet) Tri {
	switch o.Name {
	case "-m":
		return knownModule(o.Module)
	case "-p":
		return matchProto(o.Value(), p.Proto)
	case "-o":
		return matchOut(o.Value(), p)
	case "-f":
		return Some
	}
	switch o.Module {
	case "tcp", "udp", "sctp", "multiport":
		return matchPorts(o, p)
	case "addrtype":
		return matchAddrType(o, p.Family())
	case "conntrack", "state":
		return matchConntrack(o, p)
	case "comment":
		return Yes
	}
	if freeModule(o.Module) {
		return Some
	}
	return Unknown
}
