// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Chain returns one chain of a table, and whether it is there. Of one that is no
// base chain only the name is told. No other chain is read: there may be thousands.
func (r *Reader) Chain(t Table, name string) (c Chain, there bool, err error) {
	msgs, err := r.ask(request(getChain, unix.NLM_F_ACK, t.Family, attrText(chainTable, t.Name), attrText(chainName, name)), all)
	if err == nil && len(msgs) > 0 {
		c, _, err = decodeChain(t.Family, msgs[0])
		return c, err == nil, err
	}
	if err == nil || errors.Is(err, unix.ENOENT) {
		return Chain{}, false, nil
	}
	return Chain{}, false, fmt.Errorf("could not read nftables chain %s %s: %w", t, name, err)
}

// AllRules lists the rules of all chains of a table, which may be none.
func (r *Reader) AllRules(t Table) (map[string][]Rule, error) {
	msgs, err := r.ask(request(getRule, unix.NLM_F_DUMP, t.Family, attrText(ruleTable, t.Name)), all)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
	}
	out := map[string][]Rule{}
	for _, m := range msgs {
		ru, err := decodeRule(m)
		if err != nil {
			return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
		}
		out[ru.Chain] = append(out[ru.Chain], ru)
	}
	return out, nil
}

// Sets lists the named sets of a table, which may be none.
func (r *Reader) Sets(t Table) ([]Set, error) {
	msgs, err := r.ask(request(getSet, unix.NLM_F_DUMP, t.Family, attrText(setTable, t.Name)), all)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
	}
	var out []Set
	for _, m := range msgs {
		s, err := decodeSet(t, m)
		if err != nil {
			return nil, fmt.Errorf("could not read nftables table %s: %w", t, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// TableDormant is NFT_TABLE_F_DORMANT: the table is there and does nothing.
const TableDormant = 1

// TableFlags returns the flags of a table, and whether it is there.
func (r *Reader) TableFlags(t Table) (flags uint32, there bool, err error) {
	const tableFlags = 2
	msgs, err := r.ask(request(getTable, unix.NLM_F_ACK, t.Family, attrText(tableName, t.Name)), all)
	switch {
	case err == nil && len(msgs) > 0:
		flags, _ = Attrs(msgs[0]).Num(tableFlags)
		return flags, true, nil
	case err == nil, errors.Is(err, unix.ENOENT), absent(err):
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("could not read nftables table %s: %w", t, err)
}

// Generation returns the number of the rule set, which every transaction
// changes. What was read before and after must be of one generation: else a rule
// that moved from one chain to another may not have been seen in either.
func (r *Reader) Generation() (uint32, error) {
	const getGen, genID = 16, 1
	msgs, err := r.conn.ask(getGen, unix.NLM_F_ACK, 0)
	if absent(err) {
		return 0, nil
	}
	if err == nil && len(msgs) == 0 {
		err = errAttr
	}
	if err != nil {
		return 0, fmt.Errorf("could not read the generation of nftables: %w", err)
	}
	n, _ := Attrs(msgs[0]).Num(genID)
	return n, nil
}

// Netns tells the network namespace of the Reader from all others since boot
// (Linux 5.14).
func (r *Reader) Netns() (uint64, error) {
	if err := r.conn.open(); err != nil {
		return 0, err
	}
	return unix.GetsockoptUint64(r.conn.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}
