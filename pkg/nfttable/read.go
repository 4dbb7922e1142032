// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

// A Source reads nf_tables.
type Source interface {
	TableFlags(t nft.Table) (flags uint32, there bool, err error)
	Chain(t nft.Table, name string) (c nft.Chain, there bool, err error)
	AllRules(t nft.Table) (map[string][]nft.Rule, error)
	Sets(t nft.Table) ([]nft.Set, error)
	AllElements(s nft.Set) ([]nft.Element, error)
}

// ErrVersion means that the table is another version's, or a stranger's.
var ErrVersion = errors.New("the nftables table is not of this version of portguard")

// dormant is what Table.Broken says of a table that is switched off.
const dormant = "flag dormant"

// Read reads the whole table, anew if somebody removes it meanwhile.
func (s Spec) Read(src Source) (t *Table, err error) {
	const tries = 10
	for range tries {
		if t, err = s.read(src); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return t, err
}

// read reads the table. Of one that is not portguard's it reads nothing more.
func (s Spec) read(src Source) (*Table, error) {
	t := s.Absent()
	flags, there, err := src.TableFlags(s.Table)
	if t.There = there; err != nil || !there {
		return t, err
	}
	if flags&nft.TableDormant != 0 {
		t.Broken = append(t.Broken, dormant)
	}
	have, err := src.Sets(s.Table)
	if err != nil {
		return nil, err
	}
	sound, err := t.judge(have)
	if err != nil {
		t.Stranger = fmt.Errorf("%w: %w of table %s; remove the table (nft delete table %s) and restart the pods with hostPorts", ErrVersion, err, s.Table, s.Table)
		return t, nil
	}
	if err := t.readChains(src); err != nil {
		return nil, err
	}
	if err := t.list(src, sound); err != nil {
		return nil, err
	}
	return t, nil
}

// judge compares the sets that are there with what they must be. The error says which
// is another's.
func (t *Table) judge(have []nft.Set) (sound []Set, err error) {
	for _, s := range t.Spec.Sets {
		want := s.in(t.Spec.Table)
		i := slices.IndexFunc(have, func(o nft.Set) bool { return o.Name == s.Name })
		switch {
		case i < 0:
			t.Broken = append(t.Broken, "set "+s.Name)
		case have[i].KeyLen != want.KeyLen || have[i].Flags&^nft.SetConcat != want.Flags&^nft.SetConcat || have[i].Verdicts != want.Verdicts:
			return nil, fmt.Errorf("set %s", s.Name)
		default:
			sound = append(sound, s)
		}
	}
	if len(sound) == 0 {
		return nil, errors.New("the sets")
	}
	return sound, nil
}

// list reads the elements of sets.
func (t *Table) list(src Source, sets []Set) error {
	var lists [][]held
	for _, s := range sets {
		elems, err := src.AllElements(s.in(t.Spec.Table))
		if err != nil {
			return err
		}
		all := make([]held, len(elems))
		for i, r := range elems {
			all[i] = held{fromRaw(s.Name, r), r.Packets, r.Counted, t.next + i}
		}
		lists, t.next = append(lists, all), t.next+len(all)
	}
	t.elements = make(map[place]*held, t.next)
	for _, all := range lists {
		for i := range all {
			e := &all[i]
			t.elements[e.place()] = e
			if _, known := t.chains[e.Goto]; !known && e.Goto != "" && !t.Spec.has(e.Goto) { // somebody emptied it
				t.chains[e.Goto] = Conditions{Name: e.Goto}
			}
		}
	}
	return nil
}

// readChains compares the chains of the skeleton with what they must be, and notes
// those with conditions.
func (t *Table) readChains(src Source) error {
	have, err := src.AllRules(t.Spec.Table)
	if err != nil {
		return err
	}
	for _, c := range t.Spec.Chains {
		is, there, err := src.Chain(t.Spec.Table, c.Name)
		if err != nil {
			return err
		}
		if there {
			t.made = append(t.made, c.Name)
		}
		is.Handle = 0 // the kernel chooses it
		holds := func(rules [][]nft.Expr) bool { return slices.EqualFunc(have[c.Name], rules, sameRule) }
		if !there || is != c.Chain || !holds(c.Rules) && (c.Lesser == nil || !holds(c.Lesser)) {
			t.Broken = append(t.Broken, "chain "+c.Name)
		}
	}
	for n, rules := range have {
		if t.Spec.Prefix != "" && strings.HasPrefix(n, t.Spec.Prefix) {
			t.chains[n] = Conditions{Name: n, Shape: shapesOf(rules), Packets: packetsOf(rules)}
		}
	}
	return nil
}

// What the kernel tells of a rule of a chain with conditions. Of any other it tells the
// expression that is no match.
const (
	Returns    = "matches, then return"
	Translates = "matches, then nat"
)

func shapesOf(rules []nft.Rule) []string {
	var out []string
	for _, r := range rules {
		out = append(out, shapeOf(r.Exprs))
	}
	return out
}

// packetsOf sums up what rules count, by their comments. Conditions may count, too: the
// last counter is the one behind them.
func packetsOf(rules []nft.Rule) map[string]uint64 {
	out := map[string]uint64{}
	for _, r := range rules {
		for _, e := range slices.Backward(r.Exprs) {
			if n, ok := e.Packets(); ok {
				out[r.Comment] += n
				break
			}
		}
	}
	return out
}

func shapeOf(exprs []nft.Expr) string {
	last := len(exprs) - 1
	for i, e := range exprs {
		switch {
		case matches(e):
		case i == last && e.Name == "nat":
			return Translates
		case i == last && sameExpr(e, nft.Verdict{Code: nft.Return}.Expr()):
			return Returns
		default:
			return e.Name
		}
	}
	return "matches"
}

// matches reports whether an expression only compares and counts: it writes nothing but
// registers and ends nothing.
func matches(e nft.Expr) bool {
	into := func(attr uint16) bool { reg, ok := e.Attrs.Num(attr); return ok && reg == unix.NFT_REG_VERDICT }
	switch e.Name {
	case "meta", "ct", "payload", "exthdr": // without a register to load into they write
		_, loads := e.Attrs.Get(unix.NFTA_META_DREG) // it has the same number in all
		return loads
	case "lookup":
		return !into(unix.NFTA_LOOKUP_DREG)
	case "immediate":
		return !into(unix.NFTA_IMMEDIATE_DREG)
	case "cmp", "range", "bitwise", "byteorder", "rt", "fib", "socket", "osf", "xfrm", "tunnel", "inner", "numgen", "hash",
		"limit", "quota", "connlimit", "counter", "last", "log":
		return true
	}
	return false
}

// sameRule compares a rule of the kernel with the expressions it was made from.
// The kernel adds attributes that were left out, and nft, when it loads what it
// printed, a swap of no bytes.
func sameRule(have nft.Rule, want []nft.Expr) bool {
	exprs := slices.DeleteFunc(slices.Clone(have.Exprs), func(e nft.Expr) bool {
		n, _ := e.Attrs.Num(unix.NFTA_BYTEORDER_LEN)
		size, _ := e.Attrs.Num(unix.NFTA_BYTEORDER_SIZE)
		return e.Name == "byteorder" && n < size
	})
	return have.Comment == "" && slices.EqualFunc(exprs, want, sameExpr)
}

func sameExpr(have, want nft.Expr) bool {
	return have.Name == want.Name && nft.Contains(have.Attrs, want.Attrs)
}
