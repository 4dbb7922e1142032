// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"bytes"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// Elements lists a set. A long named set, more than a few reads of the socket bring, is
// not listed to its end: whole is false. Anonymous sets are as long as somebody wrote
// them into a rule.
func (r *Reader) Elements(s nft.Set) (elems []nft.Element, whole bool, err error) {
	limit := fewReads
	if s.Flags&nft.SetAnonymous != 0 {
		limit = manyReads
	}
	return r.elements(s, limit)
}

// AllElements lists a set, however long it is.
func (r *Reader) AllElements(s nft.Set) ([]nft.Element, error) {
	elems, whole, err := r.elements(s, manyReads)
	if err == nil && !whole {
		err = fmt.Errorf("could not read nftables set %s %s: %w", s.Table, s.Name, errEndless)
	}
	return elems, err
}

func (r *Reader) elements(s nft.Set, limit int) (elems []nft.Element, whole bool, err error) {
	req := nft.Request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, s.Table.Family, inSet(s))
	err = again(func() error {
		elems = nil
		whole, err = r.conn.talk(req, limit, func(m []byte) error {
			es, err := nft.DecodeElements(bytes.Clone(m))
			elems = append(elems, es...)
			return err
		})
		return err
	})
	question := fmt.Sprintf("elements %s %s %d", s.Table, s.Name, limit)
	if r.heard(question, slices.Clone(elems), err); err != nil {
		return nil, false, fmt.Errorf("could not read nftables set %s %s: %w", s.Table, s.Name, err)
	}
	r.heard(question+" whole", whole, nil)
	return elems, whole, nil
}
