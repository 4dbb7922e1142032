// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"fmt"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// BaseChains lists the base chains of all tables at the hooks where a
// destination can be translated: those of type nat, and of type filter at
// prerouting, where tproxy is possible. They come in the order of priorities.
func (r *Reader) BaseChains() ([]nft.Chain, error) {
	if err := r.list(); err != nil {
		return nil, fmt.Errorf("could not read the nftables chains: %w", err)
	}
	return r.base, nil
}

// ForwardChains lists the base chains that forwarded packets pass.
func (r *Reader) ForwardChains() ([]nft.Chain, error) {
	if err := r.list(); err != nil {
		return nil, fmt.Errorf("could not read the nftables chains: %w", err)
	}
	return r.forward, nil
}

// Drops reports whether the policy of one of ForwardChains is drop.
func (r *Reader) Drops(c nft.Chain) bool { return r.drops[c] }

// Names lists the names of a table's base chains and of those that Wanted tells.
func (r *Reader) Names(t nft.Table) ([]string, error) {
	if err := r.list(); err != nil {
		return nil, fmt.Errorf("could not read the nftables chains: %w", err)
	}
	r.heard("names "+t.String(), r.names[t], nil)
	return r.names[t], nil
}

// Has reports whether a table has a chain, which is a base chain or one that Wanted tells.
func (r *Reader) Has(t nft.Table, chain string) (bool, error) {
	if err := r.list(); err != nil {
		return false, fmt.Errorf("could not read the nftables chains: %w", err)
	}
	has := slices.Contains(r.names[t], chain)
	r.heard("chain "+t.String()+" "+chain, has, nil)
	return has, nil
}

// TakeChains lets r know the chains that another Reader has listed, if it has. They must be
// of the same generation, and of interest to both.
func (r *Reader) TakeChains(o *Reader) {
	r.names, r.base, r.forward, r.drops = o.names, o.base, o.forward, o.drops
}

// list asks for the chains once. The kernel cannot be asked for those of one
// table, nor for base chains only.
func (r *Reader) list() error {
	if r.names != nil {
		return nil
	}
	err := r.listAll()
	r.heard("base chains", r.base, err)
	r.heard("forward chains", r.forward, err)
	return err
}

func (r *Reader) listAll() error {
	r.base, r.forward, r.drops = nil, nil, map[nft.Chain]bool{}
	names := map[nft.Table][]string{}
	for _, f := range []uint8{nft.Inet, nft.IPv4, nft.IPv6} {
		msgs, err := r.conn.hear(request(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, f), r.wanted)
		if absent(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range msgs {
			c, base, err := nft.DecodeChain(f, m)
			if err != nil {
				return err
			}
			names[c.Table] = append(names[c.Table], c.Name)
			if base {
				r.listBase(c, m)
			}
		}
	}
	sort.SliceStable(r.base, func(i, j int) bool { return r.base[i].Priority < r.base[j].Priority })
	r.names = names
	return nil
}

// wanted keeps base chains, and of the others those that Names is about.
func (r *Reader) wanted(m []byte) (bool, error) {
	if r.Wanted == nil {
		return true, nil
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
	return base || r.Wanted(nft.Text(name)), err
}

func (r *Reader) listBase(c nft.Chain, m []byte) {
	if c.Hook == nft.Forward {
		policy, ok := nft.Attrs(m).Num(unix.NFTA_CHAIN_POLICY)
		r.forward, r.drops[c] = append(r.forward, c), ok && policy == uint32(nft.Drop)
		r.heard(fmt.Sprintf("policy %s %s", c.Table, c.Name), policy, nil)
	}
	if c.Hook == nft.Prerouting && c.Type != "route" || c.Hook == nft.Output && c.Type == "nat" {
		r.base = append(r.base, c)
	}
}
