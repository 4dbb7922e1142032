// SPDX-License-Identifier: Apache-2.0

package nft

import "golang.org/x/sys/unix"

// An Event is what the kernel tells of one part of a transaction to those who listen
// (nf_tables_commit in net/netfilter/nf_tables_api.c).
type Event struct {
	// Type is the message, such as unix.NFT_MSG_NEWRULE.
	Type  uint16
	Table Table
	// Name is that of the chain, of a rule that of its chain, of an element that of its
	// set, and "" of others.
	Name string
	// Generation is what the rule set has become, in the last event of a transaction.
	Generation uint32
	// Attrs are those of the object.
	Attrs Attrs
}

// DecodeEvent reads an event of a family.
func DecodeEvent(typ uint16, family uint8, b []byte) (Event, error) {
	a, err := parseAttrs(b)
	if err != nil {
		return Event{}, err
	}
	e := Event{Type: typ & 0xff, Attrs: a}
	if e.Type == unix.NFT_MSG_NEWGEN {
		e.Generation, _ = a.Num(unix.NFTA_GEN_ID)
		return e, nil
	}
	// The table is the first attribute of all objects.
	e.Table = Table{Family: family, Name: a.Text(unix.NFTA_RULE_TABLE)}
	switch e.Type {
	case unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN:
		e.Name = a.Text(unix.NFTA_CHAIN_NAME)
	case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE, unix.NFT_MSG_NEWSET, unix.NFT_MSG_DELSET,
		unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM:
		e.Name = a.Text(unix.NFTA_RULE_CHAIN) // and NFTA_SET_NAME, NFTA_SET_ELEM_LIST_SET
	}
	return e, nil
}
