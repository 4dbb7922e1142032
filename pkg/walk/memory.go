// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// A memory is what rules noted of packets in sets that others may look them up in, and what they
// wrote into them: a line for each set and for what they are in it by. It is a text, so that boxes
// can be compared.
type memory string

// gone is what packets are in a set by that a rule took out of it.
const gone = "gone"

// with notes that packets are in a set by something, "" if nobody can tell when they are again.
func (m memory) with(set, by string) memory {
	if m.has(set, by) {
		return m
	}
	return m + memory(set+"\t"+by+"\n")
}

// has reports whether it was noted that packets are in a set by something.
func (m memory) has(set, by string) bool {
	return strings.Contains("\n"+string(m), "\n"+set+"\t"+by+"\n")
}

// without notes that a rule took packets out of a set.
func (m memory) without(set string) memory {
	return m.drop(set+"\t").with(set, gone)
}

// drop takes out lines that begin so.
func (m memory) drop(begin string) memory {
	lines := slices.DeleteFunc(strings.SplitAfter(string(m), "\n"), func(line string) bool { return strings.HasPrefix(line, begin) })
	return memory(strings.Join(lines, ""))
}

// or is the memory of packets that have one of the two: they may be in each of those sets.
func (m memory) or(o memory) (out memory) {
	if m == o {
		return m
	}
	for line := range strings.Lines(string(m + o)) {
		set, _, _ := strings.Cut(line, "\t")
		out = out.with(set, "")
	}
	return out
}

// Remembered are packets of start that rules may have noted as they noted those of after: by the
// time that the next connection comes, members may have expired. There are none if they noted
// nothing.
func (s Space) Remembered(after Space) Space {
	var m memory
	for _, b := range after {
		m = m.or(b.memory.onward().drop("labels "))
	}
	if m == "" {
		return nil
	}
	out := slices.Clone(s)
	for i := range out {
		out[i].memory = m
	}
	return out
}

// in tells whether packets are in a set by something: Some if they may be by something else, No
// if no rule noted anything.
func (m memory) in(set, by string) Tri {
	switch {
	case m == "" || !strings.Contains("\n"+string(m), "\n"+set+"\t"):
		return No
	case by != "" && m.has(set, by):
		return Yes
	}
	return Some
}

// nativeSet names a set of nf_tables in a memory, ipset one of ip_set.
func nativeSet(t nft.Table, name string) string {
	return fmt.Sprintf("%d %s %s", t.Family, t.Name, name)
}

func ipset(name string) string { return "ipset " + name }

// signature is the same for slots that hold the same of a packet, "" if that cannot be told.
func signature(slots []slot) string {
	var out strings.Builder
	for _, s := range slots {
		switch s.of {
		case known, ofSrc, ofDst, ofIn, ofInIndex:
			fmt.Fprintf(&out, "%d:%d:%x:%x ", s.of, s.off, s.data, s.mask)
		default:
			return ""
		}
	}
	return out.String()
}

// named is an expression about a named set or object.
func (x *run) named(th *thread, e nft.Expr) error {
	switch e.Name {
	case "lookup":
		return x.lookup(th, e.Attrs)
	case "dynset":
		return x.dynset(th, e.Attrs)
	}
	return x.object(th, e.Attrs)
}

// lookup asks a set or map.
func (x *run) lookup(th *thread, a nft.Attrs) error {
	const inverted = 1
	name := a.Text(1)
	sreg, _ := a.Num(2)
	dreg, isMap := a.Num(3)
	flags, _ := a.Num(5)
	return x.lookUp(th, name, sreg, dreg, isMap, flags&inverted != 0)
}

// dynset adds packets to a set, or takes them out of it (nft_dynset_eval). What an element does
// besides counting may end the rule. That a set is full is not followed: those of kube-proxy, for
// affinity, would lead to every endpoint of a Service.
func (x *run) dynset(th *thread, a nft.Attrs) error {
	const deletes, inverted = 2, 1
	name := a.Text(1) // NFTA_DYNSET_SET_NAME
	op, _ := a.Num(3)
	sreg, _ := a.Num(4)
	flags, _ := a.Num(9)
	_, one := a.Get(7)
	_, several := a.Get(10)
	set, err := x.r.src.Set(x.r.table, name)
	if err != nil {
		return err
	}
	of := nativeSet(x.r.table, name)
	if op == deletes {
		th.b.memory, th.altered = th.b.memory.without(of), true
		x.stay(th)
		return nil
	}
	before := *th
	th.b.memory, th.altered = th.b.memory.with(of, signature(th.regs.take(sreg, set.KeyLen))), true
	switch {
	case flags&inverted != 0: // those go on for which there is no room
		x.misses(th)
		before.open = weaker(before.open, Some)
		x.stay(&before)
	case one || several:
		x.maybe(th, Some)
	default:
		x.stay(th)
	}
	return nil
}

// remembered goes on with a look-up in a set that a rule has these packets in. It reports
// whether there is one.
func (x *run) remembered(th *thread, set nft.Set, slots []slot, dreg uint32, isMap, inverted bool) bool {
	in := th.b.memory.in(nativeSet(set.Table, set.Name), signature(slots))
	if in == No || set.Verdicts {
		return false
	}
	if isMap { // what it holds for them nobody noted
		th.regs.load(dreg, ofAnything, 0, 16)
	}
	if in == Yes {
		x.surely(th, !inverted || isMap)
	} else {
		x.maybe(th, openness(slots))
	}
	return true
}

// object refers to a named object (NFTA_OBJREF_IMM_TYPE), of which some may end the rule, or to those
// in a map (NFTA_OBJREF_SET_SREG and _SET_NAME), which does so for what it does not hold.
func (x *run) object(th *thread, a nft.Attrs) error {
	if name := a.Text(4); name != "" {
		sreg, _ := a.Num(3)
		first := len(x.next)
		err := x.lookUp(th, name, sreg, 0, false, false)
		found := slices.Clone(x.next[first:])
		x.next = x.next[:first]
		for i := range found {
			x.maybe(&found[i], Some)
		}
		return err
	}
	const counter, helper, timeout, secmark = 1, 3, 7, 8 // NFT_OBJECT_*
	switch typ, _ := a.Num(1); typ {
	case counter, helper, timeout, secmark:
		x.stay(th)
	default:
		x.maybe(th, Some)
	}
	return nil
}

// notes is the target SET, which adds packets to an ipset, takes them out of another, and may take
// a mark and a priority from a third.
func (x *run) notes(th *thread, i xt.Info) error {
	x.wrote(th, inPriority, 0, 4, nil)
	if xt.WritesMark(i) {
		th.b, th.altered = marked(th.b, i), true
	}
	adds, dels := xt.Notes(i)
	for _, o := range adds {
		name, _, err := x.ipset(o)
		if err != nil {
			return err
		}
		th.b.memory, th.altered = th.b.memory.with(ipset(name), o.Values[1]), true
	}
	for _, o := range dels {
		name, _, err := x.ipset(o)
		if err != nil {
			return err
		}
		th.b.memory, th.altered = th.b.memory.without(ipset(name)), true
	}
	x.stay(th)
	return nil
}

// noted goes on with a match on an ipset that a rule has these packets in. It reports whether
// there is one.
func (x *run) noted(th *thread, o iptsave.Option) (bool, error) {
	if th.b.memory == "" {
		return false, nil
	}
	name, typ, err := x.ipset(o)
	if err != nil || th.b.memory.in(ipset(name), o.Values[1]) != Yes {
		return false, err
	}
	x.hop.IPSets, x.hop.NamesPort = append(x.hop.IPSets, name), x.hop.NamesPort || !o.Not && maybePorts(typ)
	x.surely(th, !o.Not)
	return true, nil
}

// recent is a list of addresses (recent_mt in net/netfilter/xt_recent.c): who is put into it meets
// the match, and then those that ask whether they were seen at all.
func (x *run) recent(th *thread, i xt.Info) {
	r, ok := xt.DecodeRecent(i)
	of := "recent " + r.Name
	switch {
	case !ok:
		x.maybe(th, Some)
	case r.Sets:
		th.b.memory, th.altered = th.b.memory.with(of, r.By), true
		x.apply(th, test{always: yesIf(!r.Not)})
	case r.Removes:
		gone := *th
		gone.b.memory, gone.altered = th.b.memory.without(of), true
		x.maybe(&gone, Some)
	case r.Hits <= 1 && th.b.memory.in(of, r.By) == Yes:
		x.surely(th, !r.Not)
	default:
		x.maybe(th, Some)
	}
}
