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
	m, there, err := r.conn.one(unix.NFT_MSG_GETCHAIN, t.Family, nft.Attrs{}.WithText(unix.NFTA_CHAIN_TABLE, t.Name).WithText(unix.NFTA_CHAIN_NAME, name))
	if there {
		c, _, err = nft.DecodeChain(t.Family, m)
	}
	if r.heard("description "+t.String()+" "+name, c, err); err != nil {
		return nft.Chain{}, false, fmt.Errorf("could not read nftables chain %s %s: %w", t, name, err)
	}
	return c, there, nil
}

// AllRules begins to list the rules of all chains of a table, over a socket of its own, so
// that the kernel lists two tables at once. The socket is of the calling thread's network
// namespace.
func AllRules(t nft.Table) (wait func() (map[string][]nft.Rule, error)) {
	own, done := Open(), make(chan struct{})
	if err := own.open(); err != nil {
		return func() (map[string][]nft.Rule, error) { return nil, err }
	}
	var rules map[string][]nft.Rule
	var err error
	go func() {
		defer close(done)
		var msgs [][]byte
		if msgs, err = own.once(nft.Request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, t.Family, nft.Attrs{}.WithText(unix.NFTA_RULE_TABLE, t.Name)), all); err == nil {
			rules, err = byChain(decoded(msgs, nft.DecodeRule))
		}
	}() // own stays open: closing one may wait for the kernel to let go of what others removed
	return func() (map[string][]nft.Rule, error) {
		if <-done; err != nil { // interrupted, or with an error that is told in full
			return NewReader().AllRules(t)
		}
		return rules, nil
	}
}

func byChain(all []nft.Rule, err error) (map[string][]nft.Rule, error) {
	out := map[string][]nft.Rule{}
	for _, ru := range all {
		out[ru.Chain] = append(out[ru.Chain], ru)
	}
	return out, err
}

// AllRules lists the rules of all chains of a table, which may be none.
func (r *Reader) AllRules(t nft.Table) (map[string][]nft.Rule, error) {
	all, err := list(r, unix.NFT_MSG_GETRULE, t, nft.DecodeRule)
	if r.heard("all rules "+t.String(), all, err); err != nil {
		return nil, err
	}
	return byChain(all, nil)
}

// Sets lists the named sets of a table, which may be none.
func (r *Reader) Sets(t nft.Table) ([]nft.Set, error) {
	sets, err := list(r, unix.NFT_MSG_GETSET, t, func(m []byte) (nft.Set, error) { return nft.DecodeSet(t, m) })
	r.heard("sets "+t.String(), sets, err)
	return sets, err
}

// list asks for all that a table has of a kind; one that is not there has nothing.
func list[T any](r *Reader, msg uint16, t nft.Table, decode func(m []byte) (T, error)) (out []T, err error) {
	const inTable = unix.NFTA_RULE_TABLE // and NFTA_SET_TABLE
	msgs, err := r.conn.ask(msg, unix.NLM_F_DUMP, t.Family, nft.Attrs{}.WithText(inTable, t.Name))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err == nil {
		out, err = decoded(msgs, decode)
	}
	if err != nil {
		return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
	}
	return out, nil
}

func decoded[T any](msgs [][]byte, decode func(m []byte) (T, error)) ([]T, error) {
	out := make([]T, 0, len(msgs))
	for _, m := range msgs {
		x, err := decode(m)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// TableFlags returns the flags of a table, and whether it is there.
func (r *Reader) TableFlags(t nft.Table) (flags uint32, there bool, err error) {
	m, there, err := r.conn.one(unix.NFT_MSG_GETTABLE, t.Family, nft.Attrs{}.WithText(unix.NFTA_TABLE_NAME, t.Name))
	if err != nil && !absent(err) {
		return 0, false, fmt.Errorf("could not read nftables table %s: %w", t, err)
	}
	flags, _ = nft.Attrs(m).Num(unix.NFTA_TABLE_FLAGS)
	r.heard(fmt.Sprintf("table %s, there %v", t, there), flags, nil)
	return flags, there, nil
}

// Generation returns the number of the rule set, which every transaction
// changes. What was read before and after must be of one generation: else a rule
// that moved from one chain to another may not have been seen in either.
func (r *Reader) Generation() (uint32, error) {
	msgs, err := r.conn.ask(unix.NFT_MSG_GETGEN, unix.NLM_F_ACK, 0, nil)
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
