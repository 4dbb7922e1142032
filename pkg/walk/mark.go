// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"
	mathbits "math/bits"
	"slices"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// newMark is the mark that slots hold: a number, one of both marks changed, or what the packets
// leave free, as a number that is drawn or a field of a header.
func newMark(old box, slots []slot) bits {
	if b, ok := bytesOf(slots, 4); ok {
		return number(binary.NativeEndian.Uint32(b))
	}
	of, ok := oneSource(slots)
	switch {
	case len(slots) == 1 && openness(slots) == Some && of != ofMark && of != ofCtMark:
		drawn := anyNumber()
		if hi := slots[0].hi; hi > 0 && of == ofNumber {
			drawn = drawn.and(1<<mathbits.Len16(hi) - 1)
		}
		mask, flip := binary.NativeEndian.Uint32(slots[0].mask[:]), binary.NativeEndian.Uint32(slots[0].data[:])
		return drawn.and(mask).xor(number(flip))
	case !ok || of != ofMark && of != ofCtMark:
		return bits{}
	}
	mark := old.mark
	if of == ofCtMark {
		mark = old.ctMark
	}
	return mark.and(binary.NativeEndian.Uint32(slots[0].mask[:])).xor(number(binary.NativeEndian.Uint32(slots[0].data[:])))
}

// guessed splits a thread in two where a mark is asked for: those that have the one that is
// to be expected, and those that have not.
func guessed(th *thread, slots []slot) []thread {
	of, mark := ofMark, th.b.mark
	if slices.ContainsFunc(slots, func(s slot) bool { return s.of == ofCtMark }) {
		of, mark = ofCtMark, th.b.ctMark
	}
	asked := slices.ContainsFunc(slots, func(s slot) bool { return s.of == of })
	if !asked || mark.guessed == 0 || mark.guessed|mark.known != ^uint32(0) {
		return []thread{*th}
	}
	sure, doubt := *th, *th
	forget := &doubt.b.mark
	if of == ofCtMark {
		forget = &doubt.b.ctMark
	}
	for i, s := range sure.regs {
		if s.of == of {
			n := mark.value&binary.NativeEndian.Uint32(s.mask[:]) ^ binary.NativeEndian.Uint32(s.data[:])
			sure.regs[i] = slot{of: known}
			binary.NativeEndian.PutUint32(sure.regs[i].data[:], n)
		}
	}
	*forget, doubt.b.doubtful, doubt.open = bits{}, true, Unknown
	return []thread{sure, doubt}
}

// Marks reports whether rules of a chain, or of those that it leads to, set marks.
func (w *Walker) Marks(chain string) (bool, error) {
	if marks, known := w.marks[chain]; known {
		return marks, nil
	}
	w.marks[chain] = false // a chain that leads to itself does not become one that marks
	rules, err := w.rules(chain)
	if err != nil {
		return false, err
	}
	for _, r := range rules {
		marks := slices.ContainsFunc(r.rule.Exprs, w.marking)
		if to := r.rule.Target(); to != "" && !marks && !w.skips(to) {
			if marks, err = w.Marks(to); err != nil {
				return false, err
			}
		}
		if marks {
			w.marks[chain] = true
			return true, nil
		}
	}
	return false, nil
}

// marking reports whether an expression sets a mark, or may lead to any chain of the table.
func (w *Walker) marking(e nft.Expr) bool {
	key, _ := e.Attrs.Num(2)
	switch e.Name {
	case "meta":
		_, sets := e.Attrs.Get(3)
		return sets && key == metaMark
	case "ct":
		_, sets := e.Attrs.Get(4)
		return sets && key == ctMark
	case "target":
		return xt.WritesMark(xt.InfoOf(e, !w.is4))
	case "lookup":
		into, isMap := e.Attrs.Num(3)
		return isMap && into == 0 // a verdict map
	}
	return false
}

// restores reports whether a target asks for the mark of the connection.
func restores(i xt.Info) bool {
	m, ok := xt.DecodeMark(i)
	return i.Name == "CONNMARK" && (!ok || m.What == xt.RestoreMark)
}

// hashed gives packets the mark that is a hash of addresses and ports.
func (x *run) hashed(th *thread, i xt.Info) {
	th.altered = true
	from, n, ok := xt.HashedMark(i)
	if !ok || n > maxDrawn {
		th.b.mark = anyNumber()
		x.stay(th)
		return
	}
	for k := range n {
		one := *th
		one.b.mark = number(from + k)
		x.stay(&one)
	}
}

// marked is what a target makes of the marks of packets (net/netfilter/xt_mark.c and
// xt_connmark.c).
func marked(b box, i xt.Info) box {
	m, ok := xt.DecodeMark(i)
	mark := number(m.Value)
	switch {
	case !ok:
		b.mark, b.ctMark = bits{}, bits{}
	case m.What == xt.SetMark:
		b.mark = b.mark.and(^m.Mask).xor(mark)
	case m.What == xt.SetCtMark:
		b.ctMark = b.ctMark.and(^m.CtMask).xor(mark)
	case m.What == xt.SaveMark:
		b.ctMark = b.ctMark.and(^m.CtMask).xor(b.mark.and(m.Mask))
	case m.What == xt.RestoreMark:
		b.mark = b.mark.and(^m.Mask).xor(b.ctMark.and(m.CtMask))
	}
	return b
}
