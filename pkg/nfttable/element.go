// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// An Element is one element of one of our sets.
type Element struct {
	Set string
	// From and To are the key, or the two ends of an interval in each part of
	// it, padded as in registers; To is "" where there is none.
	From, To string
	// Value is what a map holds, Goto the chain that a verdict map leads to.
	Value, Goto string
	Comment     string
}

// key tells elements that cannot be in a set together, intervals aside.
func (e Element) key() string { return e.Set + "\x00" + e.From + "\x00" + e.To }

// owner returns the key of the attachment that e belongs to, "" for a shared one.
func (e Element) owner() string {
	_, key, _ := hostport.ParseTag(e.Comment)
	return key
}

// raw is e as nf_tables has it.
func (e Element) raw() nft.Element {
	out := nft.Element{Key: []byte(e.From), Comment: e.Comment, Text: e.String()}
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

// pad fills a part of a key up to whole registers.
func pad(b []byte) []byte { return append(b, make([]byte, (4-len(b)%4)%4)...) }

func addrKey(a netip.Addr) []byte { return a.AsSlice() }

func protoKey(p hostport.Proto) []byte { return pad([]byte{byte(p)}) }

func portKey(n uint16) []byte { return pad(binary.BigEndian.AppendUint16(nil, n)) }

func linkKey(name string) []byte { return append([]byte(name), make([]byte, 16-len(name))...) }

func join(parts ...[]byte) string { return string(bytes.Join(parts, nil)) }

// ends are the first and last address of a network.
func ends(p netip.Prefix) (first, last []byte) {
	first = p.Masked().Addr().AsSlice()
	last = slices.Clone(first)
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 1 << (7 - i%8)
	}
	return first, last
}

// parts cuts a key into the parts that its set has.
func (s setSpec) parts(key string) ([][]byte, bool) {
	var out [][]byte
	for _, k := range s.key {
		n := (k.size() + 3) &^ 3
		if len(key) < n {
			return nil, false
		}
		out, key = append(out, []byte(key[:k.size()])), key[n:]
	}
	return out, key == ""
}

// text writes one part of a key or value as nft does.
func (k keyType) text(b []byte) string {
	switch k {
	case addr4, addr6:
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case proto:
		return hostport.Proto(b[0]).String()
	case service:
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case ifname:
		return fmt.Sprintf("%q", strings.TrimRight(string(b), "\x00"))
	}
	return fmt.Sprintf("%x", b)
}

// text writes an interval of one part: a network where it is one.
func (k keyType) interval(from, to []byte) string {
	if bytes.Equal(from, to) || to == nil {
		return k.text(from)
	}
	a, _ := netip.AddrFromSlice(from)
	if k == addr4 || k == addr6 {
		for bits := range a.BitLen() {
			if p := netip.PrefixFrom(a, bits); p.Masked() == p {
				if _, last := ends(p); bytes.Equal(last, to) {
					return p.String()
				}
			}
		}
	}
	return k.text(from) + "-" + k.text(to)
}

// String writes e as nft does in a list of elements.
func (e Element) String() string {
	s, _ := spec(e.Set)
	from, _ := s.parts(e.From)
	to, _ := s.parts(e.To)
	var words []string
	for i, k := range s.key {
		var end []byte
		if i < len(to) {
			end = to[i]
		}
		if i < len(from) {
			words = append(words, k.interval(from[i], end))
		}
	}
	out := strings.Join(words, " . ")
	if s.isMap() {
		out += " counter"
	}
	if e.Comment != "" {
		out += fmt.Sprintf(" comment %q", e.Comment)
	}
	switch {
	case e.Goto != "":
		out += " : goto " + e.Goto
	case e.Value != "":
		values, _ := setSpec{key: s.value}.parts(e.Value)
		words = nil
		for i, v := range values {
			words = append(words, s.value[i].text(v))
		}
		out += " : " + strings.Join(words, " . ")
	}
	return out
}
