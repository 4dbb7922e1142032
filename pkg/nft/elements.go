// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// Elements lists a set. One that has a name and is long is not listed: whole is
// false if there is more than a few reads of the socket bring. Anonymous sets are
// as long as somebody wrote them into a rule.
func (r *Reader) Elements(s Set) (elems []Element, whole bool, err error) {
	limit := fewReads
	if s.Flags&SetAnonymous != 0 {
		limit = manyReads
	}
	return r.elements(s, limit)
}

// AllElements lists a set, however long it is.
func (r *Reader) AllElements(s Set) ([]Element, error) {
	elems, whole, err := r.elements(s, manyReads)
	if err == nil && !whole {
		err = fmt.Errorf("could not read nftables set %s %s: the list of the kernel does not end", s.Table, s.Name)
	}
	return elems, err
}

func (r *Reader) elements(s Set, limit int) (elems []Element, whole bool, err error) {
	err = again(func() error {
		elems = nil
		req := request(getSetElem, unix.NLM_F_DUMP, s.Table.Family, attrText(elemListTable, s.Table.Name), attrText(elemListSet, s.Name))
		whole, err = r.conn.talk(req, limit, func(m []byte) error {
			es, err := decodeElements(bytes.Clone(m))
			elems = append(elems, es...)
			return err
		})
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("could not read nftables set %s %s: %w", s.Table, s.Name, err)
	}
	return elems, whole, nil
}
