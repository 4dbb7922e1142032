// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// chainBytes is a message as the kernel writes it (nf_tables_fill_chain_info).
func chainBytes(more ...[]byte) []byte {
	return join(str(unix.NFTA_CHAIN_TABLE, "t"), at(unix.NFTA_CHAIN_HANDLE, []byte{0, 0, 0, 0, 0, 0, 1, 2}), str(unix.NFTA_CHAIN_NAME, "pre"), join(more...))
}

func hookBytes(hook, prio uint32) []byte {
	return at(unix.NFTA_CHAIN_HOOK|nested, num(unix.NFTA_HOOK_HOOKNUM, hook), num(unix.NFTA_HOOK_PRIORITY, prio))
}

func TestDecodeChain(t *testing.T) {
	minus100 := int32(-100)
	for _, tt := range []struct {
		name string
		in   []byte
		want Chain
		base bool
	}{
		{"a base chain has a hook", chainBytes(hookBytes(3, uint32(minus100)), str(unix.NFTA_CHAIN_TYPE, "nat")),
			Chain{Table{Inet, "t"}, "pre", "nat", Output, -100, 0x102}, true},
		{"hook and priority may be zero", chainBytes(hookBytes(0, 0), str(unix.NFTA_CHAIN_TYPE, "filter")),
			Chain{Table{Inet, "t"}, "pre", "filter", Prerouting, 0, 0x102}, true},
		{"another chain has none", chainBytes(), Chain{Table: Table{Inet, "t"}, Name: "pre", Handle: 0x102}, false},
		{"a hook without a priority is none", chainBytes(at(unix.NFTA_CHAIN_HOOK|nested, num(unix.NFTA_HOOK_HOOKNUM, 0))), Chain{Table: Table{Inet, "t"}, Name: "pre", Handle: 0x102}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, ok, err := DecodeChain(Inet, tt.in)
			if diff := cmp.Diff(tt.want, c); diff != "" || ok != tt.base || err != nil {
				t.Errorf("got %v, %v (-want +got)\n%s", ok, err, diff)
			}
		})
	}
	for _, cut := range [][]byte{chainBytes()[:3], chainBytes(at(unix.NFTA_CHAIN_HOOK|nested, []byte{9, 9}))} {
		if _, ok, err := DecodeChain(Inet, cut); ok || !errors.Is(err, ErrCutOff) {
			t.Errorf("a chain that is cut off: got %v, %v", ok, err)
		}
	}
}

func exprBytes(name string, data ...[]byte) []byte {
	return at(1|nested, str(unix.NFTA_EXPR_NAME, name), at(unix.NFTA_EXPR_DATA|nested, data...))
}

// remark is nft's user data: something else first, then the comment.
func remark(s string) []byte {
	return append([]byte{9, 2, 1, 1, 0, byte(len(s) + 1)}, s+"\x00"...)
}

func TestDecodeRule(t *testing.T) {
	head := join(str(unix.NFTA_RULE_TABLE, "t"), str(unix.NFTA_RULE_CHAIN, "pre"), at(unix.NFTA_RULE_HANDLE, []byte{0, 0, 0, 1, 0, 0, 0, 7}))
	for _, tt := range []struct {
		name string
		in   []byte
		want Rule
	}{
		{"a rule may be empty", head, Rule{Chain: "pre", Handle: 1<<32 + 7}},
		{"expressions keep their order and their attributes", join(head, at(unix.NFTA_RULE_EXPRESSIONS|nested,
			exprBytes("meta", num(1, 8), num(2, 16)), exprBytes("frob", str(1, "x")), at(1|nested, str(unix.NFTA_EXPR_NAME, "notrack")))),
			Rule{Chain: "pre", Handle: 1<<32 + 7, Exprs: []Expr{
				{"meta", pairs{1: {0, 0, 0, 8}, 2: {0, 0, 0, 16}}.attrs()}, {"frob", pairs{1: []byte("x\x00")}.attrs()}, {Name: "notrack"}}}},
		{"the comment is in the user data", join(head, at(unix.NFTA_RULE_USERDATA, remark("ns/svc"))), Rule{Chain: "pre", Handle: 1<<32 + 7, Comment: "ns/svc"}},
		{"user data may be cut off", join(head, at(unix.NFTA_RULE_USERDATA, []byte{0, 200, 'a'})), Rule{Chain: "pre", Handle: 1<<32 + 7}},
		{"user data may lack a comment", join(head, at(unix.NFTA_RULE_USERDATA, []byte{9, 1, 'a', 0, 0, 7})), Rule{Chain: "pre", Handle: 1<<32 + 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := DecodeRule(tt.in)
			if diff := cmp.Diff(tt.want, r, cmpopts.EquateEmpty()); diff != "" || err != nil {
				t.Errorf("error is %v (-want +got)\n%s", err, diff)
			}
		})
	}
	for name, in := range map[string][]byte{
		"the rule":         head[:5],
		"the list":         at(unix.NFTA_RULE_EXPRESSIONS|nested, []byte{1, 2, 3}),
		"an expression":    at(unix.NFTA_RULE_EXPRESSIONS|nested, at(1|nested, []byte{1, 2, 3})),
		"its attributes":   at(unix.NFTA_RULE_EXPRESSIONS|nested, exprBytes("cmp", []byte{1, 2, 3})),
		"a later one only": at(unix.NFTA_RULE_EXPRESSIONS|nested, exprBytes("cmp"), exprBytes("cmp", []byte{1, 2, 3})),
	} {
		if r, err := DecodeRule(in); !errors.Is(err, ErrCutOff) {
			t.Errorf("%s is cut off: got %+v, %v", name, r, err)
		}
	}
}

func TestDecodeSet(t *testing.T) {
	tab := Table{IPv4, "t"}
	head := join(str(unix.NFTA_SET_TABLE, "t"), str(unix.NFTA_SET_NAME, "s"))
	for _, tt := range []struct {
		name string
		in   []byte
		want Set
	}{
		{"a set", join(head, num(unix.NFTA_SET_FLAGS, SetInterval), num(4, 7), num(unix.NFTA_SET_KEY_LEN, 12)), Set{Table: tab, Name: "s", Flags: SetInterval, KeyLen: 12}},
		{"a map of values", join(head, num(unix.NFTA_SET_FLAGS, SetMap), num(unix.NFTA_SET_KEY_LEN, 4), num(unix.NFTA_SET_DATA_TYPE, 7)), Set{Table: tab, Name: "s", Flags: SetMap, KeyLen: 4}},
		{"a map of verdicts", join(head, num(unix.NFTA_SET_FLAGS, SetMap|SetAnonymous), num(unix.NFTA_SET_KEY_LEN, 2), num(unix.NFTA_SET_DATA_TYPE, TypeVerdict)),
			Set{Table: tab, Name: "s", Flags: SetMap | SetAnonymous, KeyLen: 2, Verdicts: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := DecodeSet(tab, tt.in)
			if diff := cmp.Diff(tt.want, s); diff != "" || err != nil {
				t.Errorf("error is %v (-want +got)\n%s", err, diff)
			}
		})
	}
	if _, err := DecodeSet(tab, head[:5]); !errors.Is(err, ErrCutOff) {
		t.Errorf("a set that is cut off: error is %v", err)
	}
}
