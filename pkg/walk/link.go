// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/iptsave"
)

// What of lo is the same in every network namespace: it is the first link, and the only one
// of its type (ARPHRD_LOOPBACK).
const (
	loopbackIndex = 1
	loopbackType  = 772
)

// ofLink reports whether something belongs to the link that packets come by.
func ofLink(of source) bool {
	return of == ofIn || of == ofInIndex || of == ofInGroup || of == ofInType
}

// links are the links of which something is between two values, by name or pattern. It is not
// ok if that cannot be told.
func (p Packet) links(of source, lo, hi []byte) (names []string, ok bool) {
	if of == ofIn {
		return namesBetween(lo, hi)
	}
	if !bytes.Equal(lo, hi) || len(lo) != map[source]int{ofInIndex: 4, ofInGroup: 4, ofInType: 2}[of] {
		return nil, false
	}
	n := int(binary.NativeEndian.Uint32(append(lo[:len(lo):len(lo)], 0, 0)))
	switch {
	case of == ofInType:
		return []string{"lo"}, n == loopbackType
	case of == ofInIndex && n == loopbackIndex:
		return []string{"lo"}, true
	case p.Links == nil: // others may come
		return nil, false
	}
	for _, l := range p.Links {
		if of == ofInIndex && l.Index == n || of == ofInGroup && l.Group == n {
			names = append(names, l.Name)
		}
	}
	return names, true
}

// inGroup are the links of the group that an option of the match devgroup asks for. It is not
// ok if that cannot be told.
func (p Packet) inGroup(o iptsave.Option) (names []string, ok bool) {
	if o.Name != "--src-group" || p.Links == nil {
		return nil, false
	}
	group, mask, ok := parseMark(o.Value())
	for _, l := range p.Links {
		if uint32(l.Group)&mask == group&mask {
			names = append(names, l.Name)
		}
	}
	return names, ok
}

// namesBetween reads the names from one to another: a single one, or all that begin so.
func namesBetween(lo, hi []byte) (names []string, ok bool) {
	begin := ifPattern(lo)
	switch {
	case strings.Contains(begin, "/"): // no name has that; iptables-nft writes "! -i +" so
		return nil, bytes.Equal(lo, hi)
	case strings.HasSuffix(begin, "+") && (len(lo) >= 16 || bytes.IndexByte(lo, 0) >= 0):
		return nil, false // a whole name, which would be read as a pattern
	case bytes.Equal(lo, hi):
		return []string{begin}, true
	}
	n := len(strings.TrimSuffix(begin, "+"))
	if len(lo) != len(hi) || !bytes.Equal(lo[:n], hi[:n]) || slices.ContainsFunc(hi[n:], func(b byte) bool { return b != 255 }) {
		return nil, false
	}
	return []string{begin[:n] + "+"}, true
}

// linkTest answers a comparison of something of the link that packets come by.
func linkTest(slots []slot, op uint32, data []byte, p Packet) (test, bool) {
	if op != cmpEQ && op != cmpNEQ || !plain(slots, len(data)) {
		return test{}, false
	}
	names, ok := p.links(slots[0].of, data, data)
	if !ok {
		return test{}, false
	}
	return testOf(byName(names), op == cmpNEQ), true
}

// byName are the conditions that a packet comes by one of some links.
func byName(names []string) (out []conds) {
	for _, name := range names {
		out = append(out, conds{{kind: onIn, in: name}})
	}
	return out
}

// plain reports whether the first n bytes of a value were loaded without a mask or a flip.
func plain(slots []slot, n int) bool {
	for i := range n {
		if s := slots[i/4]; s.mask[i%4] != 255 || s.data[i%4] != 0 {
			return false
		}
	}
	return true
}

// side loads the name or the index of the link on one side of a hook: that by which packets come in
// may be any, and the node's own leave by lo.
func (x *run) side(regs *registers, dreg, key uint32) bool {
	out := x.p.Hook == Output
	switch {
	case key == metaIifName && !out:
		regs.load(dreg, ofIn, 0, 16)
	case key == metaOifName && out && !x.p.Absent:
		regs.store(dreg, append([]byte("lo"), make([]byte, 14)...))
	case key == metaOif && out && !x.p.Absent:
		regs.store(dreg, binary.NativeEndian.AppendUint32(nil, loopbackIndex))
	case key == metaIifName, key == metaOifName && !out:
		regs.store(dreg, make([]byte, 16)) // no such interface: an empty name
	case key == metaIif && !out:
		regs.load(dreg, ofInIndex, 0, 4)
	case key == metaIif, key == metaOif && !out:
		regs.store(dreg, make([]byte, 4)) // no such interface: index 0
	default:
		return false
	}
	return true
}
