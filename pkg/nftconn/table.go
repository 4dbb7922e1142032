// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// Chain returns one chain of a table, and whether it is there. Of one that is no
// base chain only the name is told. No other chain is read: there may be thousands.
func (r *Reader) Chain(t nft.Table, name string) (c nft.Chain, there bool, err error) {
	msgs, err := r.conn.hear(request(unix.NFT_MSG_GETCHAIN, unix.NLM_F_ACK, t.Family, attrText(unix.NFTA_CHAIN_TABLE, t.Name), attrText(unix.NFTA_CHAIN_NAME, name)), all)
	question := "description " + t.String() + " " + name
	if err == nil && len(msgs) > 0 {
		c, _, err = nft.DecodeChain(t.Family, msgs[0])
		r.heard(question, c, err)
		return c, err == nil, err
	}
	if r.heard(question, nil, err); err == nil || errors.Is(err, unix.ENOENT) {
		return nft.Chain{}, false, nil
	}
	return nft.Chain{}, false, fmt.Errorf("could not read nftables chain %s %s: %w", t, name, err)
}

// AllRules lists the rules of all chains of a table, which may be none.
func (r *Reader) AllRules(t nft.Table) (map[string][]nft.Rule, error) {
	msgs, err := r.conn.hear(request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, t.Family, attrText(unix.NFTA_RULE_TABLE, t.Name)), all)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
	}
	out := map[string][]nft.Rule{}
	var all []nft.Rule
	for _, m := range msgs {
		ru, err := nft.DecodeRule(m)
		if err != nil {
			return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
		}
		out[ru.Chain], all = append(out[ru.Chain], ru), append(all, ru)
	}
	r.heard("all rules "+t.String(), all, nil)
	return out, nil
}

// Sets lists the named sets of a table, which may be none.
func (r *Reader) Sets(t nft.Table) ([]nft.Set, error) {
	msgs, err := r.conn.hear(request(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, t.Family, attrText(unix.NFTA_SET_TABLE, t.Name)), all)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
	}
	var out []nft.Set
	for _, m := range msgs {
		s, err := nft.DecodeSet(t, m)
		if err != nil {
			return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
		}
		out = append(out, s)
	}
	r.heard("sets "+t.String(), out, nil)
	return out, nil
}

// TableFlags returns the flags of a table, and whether it is there.
func (r *Reader) TableFlags(t nft.Table) (flags uint32, there bool, err error) {
	msgs, err := r.conn.hear(request(unix.NFT_MSG_GETTABLE, unix.NLM_F_ACK, t.Family, attrText(unix.NFTA_TABLE_NAME, t.Name)), all)
	switch {
	case err == nil && len(msgs) > 0:
		flags, _ = nft.Attrs(msgs[0]).Num(unix.NFTA_TABLE_FLAGS)
		r.heard("table "+t.String(), flags, nil)
		return flags, true, nil
	case err == nil, errors.Is(err, unix.ENOENT), absent(err):
		r.heard("table "+t.String(), nil, nil)
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("could not read nftables table %s: %w", t, err)
}

// Generation returns the number of the rule set, which every transaction
// changes. What was read before and after must be of one generation: else a rule
// that moved from one chain to another may not have been seen in either.
func (r *Reader) Generation() (uint32, error) {
	msgs, err := r.conn.ask(unix.NFT_MSG_GETGEN, unix.NLM_F_ACK, 0)
	if absent(err) {
		return 0, nil
	}
	if err == nil && len(msgs) == 0 {
		err = nft.ErrCutOff
	}
	if err != nil {
		return 0, fmt.Errorf("could not read the generation of nftables: %w", err)
	}
	n, _ := nft.Attrs(msgs[0]).Num(unix.NFTA_GEN_ID)
	return n, nil
}
