// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// errLong means that a set has more elements than were asked for.
var errLong = errors.New("the set is too long")

// Elements lists a set. A named one of more than nft.MaxListed elements is not listed: whole
// is false. Anonymous sets are as long as somebody wrote them into a rule.
func (r *Reader) Elements(s nft.Set) (elems []nft.Element, whole bool, err error) {
	limit := nft.MaxListed
	if s.Flags&nft.SetAnonymous != 0 {
		limit = math.MaxInt
	}
	elems, err = r.elements(s, limit)
	if errors.Is(err, errLong) {
		return nil, false, nil
	}
	return elems, err == nil, err
}

// AllElements lists a set, however long it is, anew each time.
func (r *Reader) AllElements(s nft.Set) ([]nft.Element, error) { return r.dump(s, math.MaxInt) }

// elements is dump, and is remembered.
func (r *Reader) elements(s nft.Set, limit int) (elems []nft.Element, err error) {
	question := fmt.Sprintf("elements %s %s %d", s.Table, s.Name, limit)
	switch known := r.answers[question].(type) { // of the reading before, which many events need not end
	case []nft.Element:
		return slices.Clone(known), nil
	case string:
		if known == errLong.Error() {
			return nil, errLong
		}
	}
	elems, err = r.dump(s, limit)
	delete(r.amended, question)
	r.heard(question, slices.Clone(elems), err)
	return elems, err
}

// dump asks for the elements of a set. One that has more than limit is errLong.
func (r *Reader) dump(s nft.Set, limit int) (elems []nft.Element, err error) {
	req := nft.Request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, s.Table.Family, inSet(s))
	err = again(func() error {
		elems = nil
		return r.conn.talk(req, func(m []byte) (err error) {
			if elems, err = nft.AppendElements(elems, bytes.Clone(m)); err == nil && len(elems) > limit {
				err = errLong
			}
			return err
		})
	})
	switch {
	case errors.Is(err, errLong):
		return nil, errLong
	case err != nil:
		return nil, fmt.Errorf("could not read nftables set %s %s: %w", s.Table, s.Name, err)
	}
	return elems, nil
}
