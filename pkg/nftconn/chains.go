// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// Chains lists the base chains of all tables that are not dormant: base are those that
// packets to the node pass, onward those that they pass when they leave it again.
func (r *Reader) Chains() (base, onward []nft.Chain, err error) {
	err = r.list()
	return r.base, r.onward, err
}

// Drops reports whether the policy of a base chain is drop.
func (r *Reader) Drops(c nft.Chain) bool { return r.drops[c] }

// Names lists the names of a table's base chains and of those that Wanted tells.
func (r *Reader) Names(t nft.Table) ([]string, error) {
	err := r.list()
	r.heard("names "+t.String(), r.names[t], err)
	return r.names[t], err
}

// TakeChains lets r know the chains that another Reader has listed, if it has. They must be
// of the same generation, and of interest to both.
func (r *Reader) TakeChains(o *Reader) {
	r.names, r.base, r.onward, r.drops = o.names, o.base, o.onward, o.drops
}

// list asks for the chains once. The kernel cannot be asked for those of one
// table, nor for base chains only.
func (r *Reader) list() error {
	if r.names != nil {
		return nil
	}
	err := r.listAll()
	r.heard("base chains", r.base, err)
	if r.heard("onward chains", r.onward, err); err != nil {
		return fmt.Errorf("could not read the nftables chains: %w", err)
	}
	return nil
}

func (r *Reader) listAll() error {
	r.base, r.onward, r.drops = nil, nil, map[nft.Chain]bool{}
	names := map[nft.Table][]string{}
	for _, f := range []uint8{nft.Inet, nft.IPv4, nft.IPv6, nft.Netdev} {
		msgs, err := r.conn.hear(nft.Request(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, f, nil), r.wanted)
		if absent(err) {
			continue
		}
		if err != nil {
			return err
		}
		dormant, err := r.dormant(f)
		if err != nil {
			return err
		}
		for _, m := range msgs {
			c, base, err := nft.DecodeChain(f, m)
			if err != nil {
				return err
			}
			names[c.Table] = append(names[c.Table], c.Name)
			if base && !slices.Contains(dormant, c.Table.Name) {
				r.listBase(c, m)
			}
		}
	}
	r.names = names
	return nil
}

// dormant are the tables of a family that do nothing.
func (r *Reader) dormant(family uint8) (out []string, err error) {
	msgs, err := r.conn.ask(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, family, nil)
	for _, m := range msgs {
		if flags, _ := nft.Attrs(m).Num(unix.NFTA_TABLE_FLAGS); flags&nft.TableDormant != 0 {
			out = append(out, nft.Attrs(m).Text(unix.NFTA_TABLE_NAME))
		}
	}
	return out, err
}

// wanted keeps base chains, and of the others those that Names is about; and what is cut
// off, for somebody to notice.
func (r *Reader) wanted(m []byte) bool {
	if r.Wanted == nil {
		return true
	}
	var name []byte
	base := false
	err := nft.EachAttr(m, func(typ uint16, payload []byte) error {
		switch typ {
		case unix.NFTA_CHAIN_NAME:
			name = payload
		case unix.NFTA_CHAIN_HOOK:
			base = true
		}
		return nil
	})
	return base || err != nil || r.Wanted(nft.Text(name))
}

func (r *Reader) listBase(c nft.Chain, m []byte) {
	policy, ok := nft.Attrs(m).Num(unix.NFTA_CHAIN_POLICY)
	r.drops[c] = ok && policy == uint32(nft.Drop)
	r.heard(fmt.Sprintf("policy %s %s", c.Table, c.Name), policy, nil)
	switch {
	case c.Table.Family == nft.Netdev || c.Table.Family == nft.Inet && c.Hook == nft.InetIngress:
		r.base = append(r.base, c)
	case c.Hook == nft.Forward, c.Hook == nft.Postrouting:
		r.onward = append(r.onward, c)
	default:
		r.base = append(r.base, c)
	}
}
