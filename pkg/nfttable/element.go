// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// An Element is one element of one set.
type Element struct {
	Set string
	// From and To are the key, or the two ends of an interval in each part of
	// it, padded as in registers; To is "" where there is none.
	From, To string
	// Value is what a map holds, Goto the chain that a verdict map leads to.
	Value, Goto string
	Comment     string
}

// A place tells elements that cannot be in a set together, intervals aside.
type place struct{ set, from, to string }

func (e Element) place() place { return place{e.Set, e.From, e.To} }

// Owner returns the key of the attachment that e belongs to, "" for a shared one.
func (e Element) Owner() hostport.Key {
	_, key, _ := hostport.ParseTag(e.Comment)
	return key
}

// raw is e as nf_tables has it.
func (s *Spec) raw(e *Element) nft.Element {
	out := nft.Element{Key: []byte(e.From), Comment: e.Comment, Text: func() string { return s.Text(*e) }}
	if e.To != "" {
		out.KeyEnd = []byte(e.To)
	}
	if e.Value != "" {
		out.Data = []byte(e.Value)
	}
	if e.Goto != "" {
		out.Verdict = nft.Verdict{Code: nft.Goto, Chain: e.Goto}
	}
	return out
}

func fromRaw(set string, r nft.Element) Element {
	return Element{Set: set, From: string(r.Key), To: string(r.KeyEnd), Value: string(r.Data), Goto: r.Verdict.Chain, Comment: r.Comment}
}

// Join makes a key or a value of its parts.
func Join(parts ...[]byte) string { return string(bytes.Join(parts, nil)) }

// pad fills a part up to whole registers.
func pad(b []byte) []byte { return append(b, make([]byte, (4-len(b)%4)%4)...) }

// AddrKey is an address as a part of a key or value.
func AddrKey(a netip.Addr) []byte { return a.AsSlice() }

// ProtoKey is a protocol as a part.
func ProtoKey(p hostport.Proto) []byte { return pad([]byte{byte(p)}) }

// PortKey is a port as a part.
func PortKey(n uint16) []byte { return pad(binary.BigEndian.AppendUint16(nil, n)) }

// LinkKey is the name of a link as a part.
func LinkKey(name string) []byte { return append([]byte(name), make([]byte, max(0, 16-len(name)))...) }

// LinkOf is the link that a part names.
func LinkOf(part []byte) string { return strings.TrimRight(string(part), "\x00") }

// PortOf is the port in a part.
func PortOf(part []byte) uint16 { return binary.BigEndian.Uint16(part) }

// Ends are the first and last address of a network, as parts.
func Ends(p netip.Prefix) (first, last []byte) {
	first = p.Masked().Addr().AsSlice()
	last = slices.Clone(first)
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 1 << (7 - i%8)
	}
	return first, last
}

// Network is the network between two ends, and false where it is none.
func Network(from, to []byte) (netip.Prefix, bool) {
	same := 0 // leading bits
	for i := range min(len(from), len(to)) {
		n := bits.LeadingZeros8(from[i] ^ to[i])
		same += n
		if n < 8 {
			break
		}
	}
	a, _ := netip.AddrFromSlice(from)
	p := netip.PrefixFrom(a, same)
	first, last := Ends(p)
	return p, p.IsValid() && bytes.Equal(first, from) && bytes.Equal(last, to)
}

// Parts cuts a key into its parts. It is not ok if it is not a key of s.
func (s Set) Parts(key string) ([][]byte, bool) { return cut(s.Key, key) }

// Values cuts a value.
func (s Set) Values(value string) ([][]byte, bool) { return cut(s.Value, value) }

// Part is one of the parts of a key that Parts cuts.
func (s Set) Part(key string, n int) (part string, ok bool) {
	for _, k := range s.Key[:n] {
		if len(key) < k.padded() {
			return "", false
		}
		key = key[k.padded():]
	}
	if size := s.Key[n].size(); len(key) >= size {
		return key[:size], true
	}
	return "", false
}

func cut(types []Type, key string) ([][]byte, bool) {
	out := make([][]byte, 0, len(types))
	for _, k := range types {
		if len(key) < k.padded() {
			return nil, false
		}
		out, key = append(out, []byte(key[:k.size()])), key[k.padded():]
	}
	return out, key == "" && len(out) > 0
}

// Key writes the key of e as nft does.
func (s Spec) Key(e Element) string {
	set := s.Set(e.Set)
	from, _ := set.Parts(e.From)
	to, ok := set.Parts(e.To)
	if !ok {
		to = from
	}
	var words []string
	for i := range from {
		words = append(words, set.Key[i].interval(from[i], to[i]))
	}
	return strings.Join(words, " . ")
}

// Text writes e as nft does in a list of elements.
func (s Spec) Text(e Element) string {
	set, out := s.Set(e.Set), s.Key(e)
	if set.counted() {
		out += " counter"
	}
	if e.Comment != "" {
		out += fmt.Sprintf(" comment %q", e.Comment)
	}
	if e.Goto != "" {
		return out + " : goto " + e.Goto
	}
	values, _ := set.Values(e.Value)
	var words []string
	for i, v := range values {
		words = append(words, set.Value[i].text(v))
	}
	if len(words) > 0 {
		out += " : " + strings.Join(words, " . ")
	}
	return out
}

// text writes one part as nft does.
func (k Type) text(b []byte) string {
	switch k {
	case Addr4, Addr6:
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case Proto:
		return hostport.Proto(b[0]).String()
	case Service:
		return fmt.Sprint(PortOf(b))
	case IfName:
		return fmt.Sprintf("%q", LinkOf(b))
	case IfIndex:
		return fmt.Sprint(binary.NativeEndian.Uint32(b))
	}
	return fmt.Sprintf("%x", b)
}

// interval writes an interval of one part: a network where it is one.
func (k Type) interval(from, to []byte) string {
	if bytes.Equal(from, to) {
		return k.text(from)
	}
	if k == Addr4 || k == Addr6 {
		if p, ok := Network(from, to); ok {
			return p.String()
		}
	}
	return k.text(from) + "-" + k.text(to)
}
