// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Messages of nf_tables.
const (
	subsys      = 10
	getTable    = 1
	getChain    = 4
	getRule     = 7
	getSet      = 10
	getSetElem  = 13
	nfgenmsgLen = 4
)

// A Reader asks the nf_tables of the calling thread's network namespace. What it
// was told it remembers: it lives as long as one decision.
type Reader struct {
	rules map[string][]Rule
	sets  map[string]Set
	// base and names are all chains, once they were listed.
	base []Chain
	// forward are the base chains at that hook; drops tells those with that policy.
	forward []Chain
	drops   map[Chain]bool
	names   map[Table][]string
	// Concerns, if set, tells the destinations that matter: rules that begin with
	// the comparison with another one are not kept. It must not change.
	Concerns func(netip.Addr) bool
	conn     *conn
	// ahead are chains that are being read already.
	ahead map[string]chan answer
}

// An answer is what was read of a chain.
type answer struct {
	rules []Rule
	err   error
}

// NewReader returns a Reader that knows nothing yet.
func NewReader() *Reader {
	return &Reader{rules: map[string][]Rule{}, sets: map[string]Set{}, conn: newConn()}
}

// BaseChains lists the base chains of all tables at the hooks where a
// destination can be translated: those of type nat, and of type filter at
// prerouting, where tproxy is possible. They come in the order of priorities.
func (r *Reader) BaseChains() ([]Chain, error) {
	if err := r.list(); err != nil {
		return nil, fmt.Errorf("could not read the nftables chains: %w", err)
	}
	return r.base, nil
}

// ForwardChains lists the base chains that forwarded packets pass.
func (r *Reader) ForwardChains() ([]Chain, error) {
	if err := r.list(); err != nil {
		return nil, fmt.Errorf("could not read the nftables chains: %w", err)
	}
	return r.forward, nil
}

// Drops reports whether the policy of one of ForwardChains is drop.
func (r *Reader) Drops(c Chain) bool { return r.drops[c] }

// Names lists the names of all chains of a table.
func (r *Reader) Names(t Table) ([]string, error) {
	if err := r.list(); err != nil {
		return nil, fmt.Errorf("could not read the nftables chains: %w", err)
	}
	return r.names[t], nil
}

// list asks for the chains once. The kernel cannot be asked for those of one
// table, nor for base chains only.
func (r *Reader) list() error {
	if r.names != nil {
		return nil
	}
	return again(r.listOnce)
}

func (r *Reader) listOnce() error {
	r.base, r.forward, r.drops = nil, nil, map[Chain]bool{}
	names := map[Table][]string{}
	var last Table
	var list []string
	for _, f := range []uint8{Inet, IPv4, IPv6} {
		err := r.conn.each(getChain, f, func(m []byte) error {
			c, base, err := decodeChain(f, m)
			if err != nil {
				return err
			}
			if c.Table != last { // they come table by table
				names[last], last = list, c.Table
				list = names[last]
			}
			list = append(list, c.Name)
			if base && c.Hook == Forward {
				policy, ok := Attrs(m).Num(chainPolicy)
				r.forward, r.drops[c] = append(r.forward, c), ok && policy == uint32(Drop)
			}
			if base && (c.Hook == Prerouting && c.Type != "route" || c.Hook == Output && c.Type == "nat") {
				r.base = append(r.base, c)
			}
			return nil
		})
		if err != nil && !absent(err) {
			return err
		}
	}
	names[last] = list
	slices.SortStableFunc(r.base, func(a, b Chain) int { return int(a.Priority) - int(b.Priority) })
	r.names = names
	return nil
}

// Ahead begins to read a chain, for Rules to find it done. It runs on a thread of
// its own, so the whole process must be in one network namespace.
func (r *Reader) Ahead(t Table, chain string) {
	c := make(chan answer, 1)
	if r.ahead == nil {
		r.ahead = map[string]chan answer{}
	}
	r.ahead[t.String()+" "+chain] = c
	go func() {
		rules, err := r.readRules(newConn(), t, chain)
		c <- answer{rules, err}
	}()
}

// Rules lists the rules of one chain.
func (r *Reader) Rules(t Table, chain string) ([]Rule, error) {
	key := t.String() + " " + chain
	if rules, ok := r.rules[key]; ok {
		return rules, nil
	}
	var a answer
	if c, ok := r.ahead[key]; ok {
		a = <-c
		delete(r.ahead, key)
	} else {
		a.rules, a.err = r.readRules(r.conn, t, chain)
	}
	if a.err == nil {
		r.rules[key] = a.rules
	}
	return a.rules, a.err
}

func (r *Reader) readRules(c *conn, t Table, chain string) (rules []Rule, err error) {
	err = again(func() error {
		rules = []Rule{}
		return c.each(getRule, t.Family, func(m []byte) error {
			ru, keep, err := r.decode(t, m)
			if keep {
				rules = append(rules, ru)
			}
			return err
		}, attrText(ruleTable, t.Name), attrText(ruleChain, chain))
	})
	if err != nil {
		return nil, fmt.Errorf("could not read nftables chain %s %s: %w", t, chain, err)
	}
	return rules, nil
}

// decode reads a rule out of a buffer that will be used again. Keep is false for
// one that concerns nobody.
func (r *Reader) decode(t Table, m []byte) (ru Rule, keep bool, err error) {
	if r.Concerns != nil && t.Family != Inet {
		if dst, ok := destination(m, t.Family == IPv6); ok && !r.Concerns(dst) {
			return ru, false, nil
		}
	}
	ru, err = decodeRule(bytes.Clone(m))
	return ru, err == nil, err
}

// Set describes a set.
func (r *Reader) Set(t Table, name string) (Set, error) {
	key := t.String() + " " + name
	if s, ok := r.sets[key]; ok {
		return s, nil
	}
	msgs, err := r.conn.ask(getSet, unix.NLM_F_ACK, t.Family, attrText(setTable, t.Name), attrText(setName, name))
	if err == nil && len(msgs) == 0 {
		err = unix.ENOENT
	}
	if err != nil {
		return Set{}, fmt.Errorf("could not read nftables set %s: %w", key, err)
	}
	s, err := decodeSet(t, msgs[0])
	if err != nil {
		return Set{}, fmt.Errorf("could not read nftables set %s: %w", key, err)
	}
	r.sets[key] = s
	return s, nil
}

// Lookup asks for the one element that key falls on. The kernel compares; no
// other element is sent.
func (r *Reader) Lookup(s Set, key []byte) (Element, bool, error) {
	k := nl.NewRtAttr(elemKey|unix.NLA_F_NESTED, nil)
	k.AddRtAttr(dataValue, key)
	elem := nl.NewRtAttr(1|unix.NLA_F_NESTED, nil)
	elem.AddChild(k)
	if s.Flags&setConcat != 0 && s.Flags&SetInterval != 0 {
		end := nl.NewRtAttr(elemKeyEnd|unix.NLA_F_NESTED, nil)
		end.AddRtAttr(dataValue, key)
		elem.AddChild(end)
	}
	e, ok, err := r.element(s, elem)
	if ok || err != nil {
		return e, ok, err
	}
	// Older kernels and most kinds of sets answer EINVAL here.
	all := nl.NewRtAttr(1|unix.NLA_F_NESTED, nil)
	all.AddRtAttr(elemFlags, []byte{0, 0, 0, elemCatchAll})
	e, ok, err = r.element(s, all)
	if errors.Is(err, unix.EINVAL) {
		err = nil
	}
	return e, ok, err
}

// setConcat is NFT_SET_CONCAT.
const setConcat = 128

func (r *Reader) element(s Set, elem *nl.RtAttr) (Element, bool, error) {
	list := nl.NewRtAttr(elemListElems|unix.NLA_F_NESTED, nil)
	list.AddChild(elem)
	msgs, err := r.conn.ask(getSetElem, unix.NLM_F_ACK, s.Table.Family, attrText(elemListTable, s.Table.Name), attrText(elemListSet, s.Name), list)
	if errors.Is(err, unix.ENOENT) {
		return Element{}, false, nil
	}
	if err != nil {
		return Element{}, false, fmt.Errorf("could not look up an element of nftables set %s %s: %w", s.Table, s.Name, err)
	}
	for _, m := range msgs {
		es, err := decodeElements(m)
		if err != nil {
			return Element{}, false, fmt.Errorf("could not read nftables set %s %s: %w", s.Table, s.Name, err)
		}
		if len(es) > 0 {
			return es[0], true, nil
		}
	}
	return Element{}, false, nil
}

// absent reports whether the kernel has no nf_tables (nfnetlink_rcv_msg answers
// EINVAL for a subsystem it does not know).
func absent(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

func attrText(typ int, s string) *nl.RtAttr { return nl.NewRtAttr(typ, nl.ZeroTerminated(s)) }
