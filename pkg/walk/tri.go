// SPDX-License-Identifier: Apache-2.0

package walk

import (
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

// optionTest says what o means for p, negation included. Limited means that addrtype
// asks for one interface only, which the walk does not know.
func optionTest(o iptsave.Option, p Packet, limited bool) test {
	if c, ok := srcType(o, p); ok && !limited {
		return test{cond: &c}
	}
	t := matchOption(o, p)
	if limited && o.Module == "addrtype" {
		t = Some
	}
	if o.Not {
		t = t.not()
	}
	return test{always: t}
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
		return matchAddrType(o, p)
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
