// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// RuleText writes a rule so that two that say the same are equal, whether a match is in the
// form of xtables or, as newer iptables-nft has those of ports, in that of nf_tables.
func RuleText(r nft.Rule, ipv6 bool) string {
	n := normaliser{ipv6: ipv6}
	for _, e := range r.Exprs {
		n.step(e)
	}
	for i, c := range n.out {
		if !ipv6 { // since 1.8.10 iptables-nft asks the header for the protocol
			n.out[i] = strings.Replace(c, "payload 1 9 & ff ==", "meta 16 ==", 1)
		}
	}
	slices.Sort(n.out)
	return strings.Join(append(n.out, n.end...), "; ")
}

type normaliser struct {
	ipv6   bool
	loaded string // what is in the register
	size   uint32
	mask   []byte
	out    []string
	end    []string
}

func (n *normaliser) step(e nft.Expr) {
	a := e.Attrs
	switch e.Name {
	case "counter":
	case "meta":
		key, _ := a.Num(unix.NFTA_META_KEY)
		n.load(fmt.Sprintf("meta %d", key), 0)
	case "payload":
		base, _ := a.Num(unix.NFTA_PAYLOAD_BASE)
		off, _ := a.Num(unix.NFTA_PAYLOAD_OFFSET)
		size, _ := a.Num(unix.NFTA_PAYLOAD_LEN)
		n.load(fmt.Sprintf("payload %d %d", base, off), size)
	case "bitwise":
		m, _ := a.Nested(unix.NFTA_BITWISE_MASK)
		n.mask = nft.Value(m)
	case "cmp":
		d, _ := a.Nested(unix.NFTA_CMP_DATA)
		op, _ := a.Num(unix.NFTA_CMP_OP)
		n.condition(op == unix.NFT_CMP_NEQ, nft.Value(d), nft.Value(d))
	case "range":
		lo, _ := a.Nested(3)
		hi, _ := a.Nested(4)
		op, _ := a.Num(2)
		n.condition(op == unix.NFT_CMP_NEQ, nft.Value(lo), nft.Value(hi))
	case "match":
		n.match(xt.InfoOf(e, n.ipv6))
	case "target":
		i := xt.InfoOf(e, n.ipv6)
		n.end = append(n.end, fmt.Sprintf("%s.%d %x", i.Name, i.Rev, i.Data))
	case "immediate":
		d, _ := a.Nested(unix.NFTA_IMMEDIATE_DATA)
		v, _ := nft.DecodeVerdict(d)
		n.end = append(n.end, fmt.Sprintf("verdict %d %s", v.Code, v.Chain))
	default:
		n.out = append(n.out, e.Name)
	}
}

func (n *normaliser) load(what string, size uint32) { n.loaded, n.size, n.mask = what, size, nil }

// condition writes a comparison of what was loaded.
func (n *normaliser) condition(not bool, lo, hi []byte) {
	s := ""
	if not {
		s = "! "
	}
	switch mask := n.mask; {
	case n.loaded == "payload 2 0" && n.size == 4:
		n.out = append(n.out, "--sport "+fmt.Sprint(binary.BigEndian.Uint16(lo)))
		s = "--dport " + fmt.Sprint(binary.BigEndian.Uint16(lo[2:]))
	case n.loaded == "payload 2 2" || n.loaded == "payload 2 0":
		name := map[string]string{"payload 2 2": "--dport", "payload 2 0": "--sport"}[n.loaded]
		s += name + " " + ports(binary.BigEndian.Uint16(lo), binary.BigEndian.Uint16(hi))
	case n.loaded == "payload 2 13":
		s += fmt.Sprintf("--tcp-flags %s %s", flags(mask), flags(lo))
	case n.loaded == "meta 3":
		if mask == nil {
			mask = []byte{255, 255, 255, 255}
		}
		s += fmt.Sprintf("--mark 0x%x/0x%x", binary.NativeEndian.Uint32(lo), binary.NativeEndian.Uint32(mask))
	case strings.HasPrefix(n.loaded, "payload 1"):
		if mask == nil {
			mask = slices.Repeat([]byte{255}, int(n.size))
		}
		s += fmt.Sprintf("%s & %x == %x", n.loaded, mask, lo)
	default:
		s += fmt.Sprintf("%s == %x", n.loaded, lo)
	}
	n.out = append(n.out, s)
}

// flags writes a byte of flags as iptables-save does.
func flags(b []byte) string {
	var out []string
	for n, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if len(b) == 1 && b[0]&(1<<n) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

func ports(lo, hi uint16) string {
	if lo == hi {
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d:%d", lo, hi)
}

// match writes the options of a match, or of one that is not known its name.
func (n *normaliser) match(i xt.Info) {
	opts, ok := xt.Match(i)
	if !ok {
		n.out = append(n.out, i.Name)
	}
	for _, o := range opts {
		n.out = append(n.out, o.String())
	}
}
