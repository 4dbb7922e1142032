// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// A Reader asks the nf_tables of the calling thread's network namespace. What it
// was told it remembers: it lives as long as one decision.
type Reader struct {
	// base and names are all chains, once they were listed.
	base []nft.Chain
	// onward are the base chains of packets that go on; drops tells those with that policy.
	onward []nft.Chain
	drops  map[nft.Chain]bool
	names  map[nft.Table][]string
	// Concerns, if set, tells the destinations that matter: rules that begin with
	// the comparison with another one are not kept. It must not change.
	Concerns func(netip.Addr) bool
	// Asked, if set, tells the destination ports that matter: Rules leaves out those
	// that ask for another one before they have any effect. They are kept.
	Asked func(port uint16) bool
	// Wanted, if set, tells the chains that Names is about. It must not change.
	Wanted func(chain string) bool
	conn   *Conn
	// ahead are chains that are being read already.
	ahead map[string]chan answer
	// answers are what was told, by question.
	answers map[string]any
	// amended is by how many elements lists among them were brought up to date.
	amended map[string]int
}

// An answer is what was read of a chain.
type answer struct {
	msgs [][]byte
	err  error
}

// NewReader returns a Reader that knows nothing yet.
func NewReader() *Reader {
	return Open().Reader()
}

// Reader returns a Reader that knows nothing yet and asks over c.
func (c *Conn) Reader() *Reader {
	return &Reader{conn: c, ahead: map[string]chan answer{}, answers: map[string]any{}, amended: map[string]int{}}
}

func rulesOf(t nft.Table, chain string) []byte {
	return nft.Request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, t.Family, nft.Attrs{}.WithText(unix.NFTA_RULE_TABLE, t.Name).WithText(unix.NFTA_RULE_CHAIN, chain))
}

// Ahead begins to read a chain, for Rules to find it done. The socket is of the calling
// thread's network namespace, whichever thread reads it.
func (r *Reader) Ahead(t nft.Table, chain string) {
	req := rulesOf(t, chain)
	c := make(chan answer, 1)
	r.ahead[t.String()+" "+chain] = c
	own := Open()
	if err := own.open(); err != nil {
		c <- answer{nil, err}
		return
	}
	go func() {
		msgs, err := own.once(req, r.concerning(t))
		c <- answer{msgs, err}
	}()
}

// Rules lists the rules of one chain.
func (r *Reader) Rules(t nft.Table, chain string) ([]nft.Rule, error) {
	key := t.String() + " " + chain
	if rules, ok := r.answers["rules "+key].([]nft.Rule); ok {
		return rules, nil
	}
	msgs, err := r.messages(t, chain, key)
	return r.told("rules "+key, t, chain, slices.DeleteFunc(msgs, r.elsewhere), err)
}

// told decodes the rules of a chain, and keeps them as the answer to a question.
func (r *Reader) told(question string, t nft.Table, chain string, msgs [][]byte, err error) (rules []nft.Rule, _ error) {
	if err == nil {
		rules, err = decoded(msgs, nft.DecodeRule)
	}
	if r.heard(question, rules, err); err != nil {
		return nil, fmt.Errorf("could not read nftables chain %s %s: %w", t, chain, err)
	}
	return rules, nil
}

// A Whole is a Reader that has all rules of chains, those too that Concerns and Asked leave out.
type Whole struct{ *Reader }

// Rules lists all rules of one chain.
func (w Whole) Rules(t nft.Table, chain string) ([]nft.Rule, error) {
	if w.Concerns == nil && w.Asked == nil {
		return w.Reader.Rules(t, chain)
	}
	key := "whole " + t.String() + " " + chain
	if rules, ok := w.answers[key].([]nft.Rule); ok {
		return rules, nil
	}
	msgs, err := w.conn.hear(rulesOf(t, chain), all)
	return w.told(key, t, chain, msgs, err)
}

// messages takes what Ahead has read, or asks.
func (r *Reader) messages(t nft.Table, chain, key string) ([][]byte, error) {
	if c, ok := r.ahead[key]; ok {
		delete(r.ahead, key)
		if a := <-c; !errors.Is(a.err, unix.EINTR) {
			return a.msgs, a.err
		}
	}
	return r.conn.hear(rulesOf(t, chain), r.concerning(t))
}

// elsewhere reports whether the rule in a message is for other ports.
func (r *Reader) elsewhere(m []byte) bool {
	if r.Asked == nil {
		return false
	}
	p, ok := nft.DestinationPort(m)
	return ok && !r.Asked(p)
}

// concerning keeps the rules of a table that concern somebody.
func (r *Reader) concerning(t nft.Table) func(m []byte) bool {
	if r.Concerns == nil || t.Family == nft.Inet {
		return all
	}
	return func(m []byte) bool {
		dst, ok := nft.Destination(m, t.Family == nft.IPv6)
		return !ok || r.Concerns(dst)
	}
}

// Set describes a set.
func (r *Reader) Set(t nft.Table, name string) (nft.Set, error) {
	key := t.String() + " " + name
	if s, ok := r.answers["set "+key].(nft.Set); ok {
		return s, nil
	}
	m, there, err := r.conn.one(unix.NFT_MSG_GETSET, t.Family, nft.Attrs{}.WithText(unix.NFTA_SET_TABLE, t.Name).WithText(unix.NFTA_SET_NAME, name))
	if err == nil && !there {
		err = unix.ENOENT
	}
	var s nft.Set
	if err == nil {
		s, err = nft.DecodeSet(t, m)
	}
	if r.heard("set "+key, s, err); err != nil {
		return nft.Set{}, fmt.Errorf("could not read nftables set %s: %w", key, err)
	}
	return s, nil
}

// Lookup asks for the one element that key falls on. The kernel compares; no
// other element is sent.
func (r *Reader) Lookup(s nft.Set, key []byte) (nft.Element, bool, error) {
	e, ok, err := r.lookup(s, key)
	var found []nft.Element
	if ok {
		found = []nft.Element{e}
	}
	r.heard(fmt.Sprintf("element %s %s %x", s.Table, s.Name, key), found, err)
	return e, ok, err
}

func (r *Reader) lookup(s nft.Set, key []byte) (nft.Element, bool, error) {
	value := nft.Attrs{}.With(unix.NFTA_DATA_VALUE, key)
	elem := nft.Attrs{}.Nest(unix.NFTA_SET_ELEM_KEY, value)
	if s.Flags&nft.SetConcat != 0 && s.Flags&nft.SetInterval != 0 {
		elem = elem.Nest(nft.ElemKeyEnd, value)
	}
	e, ok, err := r.element(s, elem)
	if ok || err != nil {
		return e, ok, err
	}
	// Older kernels and most kinds of sets answer EINVAL here.
	e, ok, err = r.element(s, nft.Attrs{}.WithNum(unix.NFTA_SET_ELEM_FLAGS, nft.ElemCatchAll))
	if errors.Is(err, unix.EINVAL) {
		err = nil
	}
	return e, ok, err
}

func inSet(s nft.Set) nft.Attrs {
	return nft.Attrs{}.WithText(unix.NFTA_SET_ELEM_LIST_TABLE, s.Table.Name).WithText(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
}

func (r *Reader) element(s nft.Set, elem nft.Attrs) (nft.Element, bool, error) {
	list := nft.Attrs{}.Nest(unix.NFTA_LIST_ELEM, elem)
	m, there, err := r.conn.one(unix.NFT_MSG_GETSETELEM, s.Table.Family, inSet(s).Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list))
	var found []nft.Element
	if there {
		found, err = nft.DecodeElements(m)
	}
	if err != nil {
		return nft.Element{}, false, fmt.Errorf("could not look up an element of nftables set %s %s: %w", s.Table, s.Name, err)
	}
	if len(found) == 0 {
		return nft.Element{}, false, nil
	}
	return found[0], true, nil
}

// absent reports whether the kernel has no nf_tables (nfnetlink_rcv_msg answers
// EINVAL for a subsystem that it does not know).
func absent(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}
