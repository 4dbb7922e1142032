// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"
	"net/netip"

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
	// Asked, if set, tells the destination ports that matter: Rules leaves out those
	// that ask for another one before they have any effect. They are kept.
	Asked func(port uint16) bool
	// Wanted, if set, tells the chains that Names is about. It must not change.
	Wanted func(chain string) bool
	conn   *conn
	// ahead are chains that are being read already.
	ahead map[string]chan answer
	// memory is what may be answered without asking; news, that something is in it
	// that was asked.
	memory map[string][][]byte
	news   bool
}

// An answer is what was read of a chain.
type answer struct {
	msgs [][]byte
	err  error
}

// NewReader returns a Reader that knows nothing yet.
func NewReader() *Reader {
	return &Reader{rules: map[string][]Rule{}, sets: map[string]Set{}, conn: newConn()}
}

func rulesOf(t Table, chain string) *nl.NetlinkRequest {
	return request(getRule, unix.NLM_F_DUMP, t.Family, attrText(ruleTable, t.Name), attrText(ruleChain, chain))
}

// Ahead begins to read a chain, for Rules to find it done. It runs on a thread of
// its own, so the whole process must be in one network namespace.
func (r *Reader) Ahead(t Table, chain string) {
	req := rulesOf(t, chain)
	if _, known := r.memory[question(req)]; known {
		return
	}
	c := make(chan answer, 1)
	if r.ahead == nil {
		r.ahead = map[string]chan answer{}
	}
	r.ahead[t.String()+" "+chain] = c
	go func() {
		msgs, err := newConn().hear(req, r.concerning(t))
		c <- answer{msgs, err}
	}()
}

// Rules lists the rules of one chain.
func (r *Reader) Rules(t Table, chain string) ([]Rule, error) {
	key := t.String() + " " + chain
	if rules, ok := r.rules[key]; ok {
		return rules, nil
	}
	rules, err := r.readRules(t, chain, key)
	if err != nil {
		return nil, fmt.Errorf("could not read nftables chain %s %s: %w", t, chain, err)
	}
	r.rules[key] = rules
	return rules, nil
}

func (r *Reader) readRules(t Table, chain, key string) ([]Rule, error) {
	req := rulesOf(t, chain)
	if c, ok := r.ahead[key]; ok {
		delete(r.ahead, key)
		a := <-c
		if a.err != nil {
			return nil, a.err
		}
		r.remember(question(req), a.msgs)
	}
	msgs, err := r.ask(req, r.concerning(t))
	if err != nil {
		return nil, err
	}
	rules := make([]Rule, 0, len(msgs))
	for _, m := range msgs {
		if r.elsewhere(m) {
			continue
		}
		ru, err := decodeRule(m)
		if err != nil {
			return nil, err
		}
		rules = append(rules, ru)
	}
	return rules, nil
}

// elsewhere reports whether the rule in a message is for other ports.
func (r *Reader) elsewhere(m []byte) bool {
	if r.Asked == nil {
		return false
	}
	p, ok := port(m)
	return ok && !r.Asked(p)
}

// concerning keeps the rules of a table that concern somebody.
func (r *Reader) concerning(t Table) func(m []byte) (bool, error) {
	if r.Concerns == nil || t.Family == Inet {
		return all
	}
	return func(m []byte) (bool, error) {
		dst, ok := destination(m, t.Family == IPv6)
		return !ok || r.Concerns(dst), nil
	}
}

// Set describes a set.
func (r *Reader) Set(t Table, name string) (Set, error) {
	key := t.String() + " " + name
	if s, ok := r.sets[key]; ok {
		return s, nil
	}
	msgs, err := r.ask(request(getSet, unix.NLM_F_ACK, t.Family, attrText(setTable, t.Name), attrText(setName, name)), all)
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
