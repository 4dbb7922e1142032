// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

func elems(es ...[]byte) []byte {
	return join(str(unix.NFTA_SET_ELEM_LIST_TABLE, "t"), str(unix.NFTA_SET_ELEM_LIST_SET, "s"), at(unix.NFTA_SET_ELEM_LIST_ELEMENTS|nested, es...))
}

func elem(attrs ...[]byte) []byte { return at(1|nested, attrs...) }

func value(typ uint16, b ...byte) []byte { return at(typ|nested, at(unix.NFTA_DATA_VALUE, b)) }

func verdict(code int32, chain string) []byte {
	v := num(unix.NFTA_VERDICT_CODE, uint32(code))
	if chain != "" {
		v = join(v, str(unix.NFTA_VERDICT_CHAIN, chain))
	}
	return at(unix.NFTA_DATA_VERDICT|nested, v)
}

func TestDecodeElements(t *testing.T) {
	goOn := Verdict{Code: Continue}
	for _, tt := range []struct {
		name string
		in   []byte
		want []Element
	}{
		{"a set may be empty", elems(), nil},
		{"elements have keys", elems(elem(value(unix.NFTA_SET_ELEM_KEY, 0, 80)), elem(value(unix.NFTA_SET_ELEM_KEY, 0, 81))),
			[]Element{{Key: []byte{0, 80}, Verdict: goOn}, {Key: []byte{0, 81}, Verdict: goOn}}},
		{"a range of a concatenation has two", elems(elem(value(unix.NFTA_SET_ELEM_KEY, 1), value(ElemKeyEnd, 9))),
			[]Element{{Key: []byte{1}, KeyEnd: []byte{9}, Verdict: goOn}}},
		{"an interval has an end of its own", elems(elem(value(unix.NFTA_SET_ELEM_KEY, 1)), elem(value(unix.NFTA_SET_ELEM_KEY, 9), num(unix.NFTA_SET_ELEM_FLAGS, elemIntervalEnd))),
			[]Element{{Key: []byte{1}, Verdict: goOn}, {Key: []byte{9}, Flags: elemIntervalEnd, Verdict: goOn}}},
		{"a catch-all has no key", elems(elem(num(unix.NFTA_SET_ELEM_FLAGS, ElemCatchAll), at(unix.NFTA_SET_ELEM_DATA|nested, verdict(Drop, "")))),
			[]Element{{Flags: ElemCatchAll, Verdict: Verdict{Code: Drop}}}},
		{"a verdict map leads to a chain", elems(elem(value(unix.NFTA_SET_ELEM_KEY, 1), at(unix.NFTA_SET_ELEM_DATA|nested, verdict(Goto, "svc")), at(unix.NFTA_SET_ELEM_USERDATA, remark("ns/svc")))),
			[]Element{{Key: []byte{1}, Verdict: Verdict{Goto, "svc"}, Comment: "ns/svc"}}},
		{"a map holds values", elems(elem(value(unix.NFTA_SET_ELEM_KEY, 1), value(unix.NFTA_SET_ELEM_DATA, 10, 0, 0, 2))),
			[]Element{{Key: []byte{1}, Data: []byte{10, 0, 0, 2}, Verdict: goOn}}},
		{"an element with expressions of its own may end the rule", elems(elem(value(unix.NFTA_SET_ELEM_KEY, 1), at(4, make([]byte, 8)), at(7|nested, str(1, "limit")))),
			[]Element{{Key: []byte{1}, Verdict: goOn, Stateful: true}}},
		{"so may one with several", elems(elem(value(unix.NFTA_SET_ELEM_KEY, 1), at(11|nested, at(1|nested, str(1, "counter"))))),
			[]Element{{Key: []byte{1}, Verdict: goOn, Stateful: true}}},
		{"a counter does not", elems(elem(value(unix.NFTA_SET_ELEM_KEY, 1), at(7|nested, str(1, "counter"), at(2|nested, at(2, []byte{0, 0, 0, 0, 0, 0, 1, 2}))))),
			[]Element{{Key: []byte{1}, Verdict: goOn, Packets: 258, Counted: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeElements(tt.in)
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
				t.Errorf("error is %v (-want +got)\n%s", err, diff)
			}
		})
	}
	junk := []byte{1, 2, 3}
	for name, in := range map[string][]byte{
		"the message": junk, "the list": elems(junk), "an element": elems(elem(junk)), "a key": elems(elem(at(unix.NFTA_SET_ELEM_KEY|nested, junk))),
		"a key's end": elems(elem(at(ElemKeyEnd|nested, junk))), "a value": elems(elem(at(unix.NFTA_SET_ELEM_DATA|nested, junk))),
		"a counter": elems(elem(at(7|nested, junk))),
		"a verdict": elems(elem(at(unix.NFTA_SET_ELEM_DATA|nested, at(unix.NFTA_DATA_VERDICT|nested, junk)))),
	} {
		if got, err := DecodeElements(in); !errors.Is(err, ErrCutOff) {
			t.Errorf("%s is cut off: got %+v, %v", name, got, err)
		}
	}
}

func TestElementFlags(t *testing.T) {
	for flags, want := range map[uint32][2]bool{0: {}, 1: {true, false}, 2: {false, true}, 4: {}} {
		e := Element{Flags: flags}
		if got := [2]bool{e.IntervalEnd(), e.CatchAll()}; got != want {
			t.Errorf("flags %d: got %v, want %v", flags, got, want)
		}
	}
}

func TestDecodeVerdict(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		want Verdict
	}{
		{"without one the rule goes on", at(unix.NFTA_DATA_VALUE, []byte{1}), Verdict{Code: Continue}},
		{"drop is zero", verdict(Drop, ""), Verdict{Code: Drop}},
		{"accept", verdict(Accept, ""), Verdict{Code: Accept}},
		{"codes may be negative", verdict(Return, ""), Verdict{Code: Return}},
		{"a jump names its chain", verdict(Jump, "a/b-c"), Verdict{Jump, "a/b-c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := parseAttrs(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeVerdict(a)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("error is %v (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestTableString(t *testing.T) {
	for want, in := range map[string]Table{"inet a": {Inet, "a"}, "ip b": {IPv4, "b"}, "ip6 c": {IPv6, "c"}} {
		if got := in.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzDecodeChain(f *testing.F) {
	f.Add(chainBytes(hookBytes(0, 1), str(unix.NFTA_CHAIN_TYPE, "nat")))
	f.Add(chainBytes()[:9])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok, err := DecodeChain(Inet, b); ok && err != nil {
			t.Error(err)
		}
	})
}

func FuzzDecodeRule(f *testing.F) {
	f.Add(join(at(unix.NFTA_RULE_HANDLE, make([]byte, 8)), at(unix.NFTA_RULE_EXPRESSIONS|nested, exprBytes("cmp", num(1, 8)), exprBytes("immediate", num(1, 0), at(2|nested, verdict(Jump, "c")))), at(unix.NFTA_RULE_USERDATA, remark("x"))))
	f.Add(at(unix.NFTA_RULE_EXPRESSIONS|nested, exprBytes("cmp", []byte{1, 2, 3})))
	f.Fuzz(func(_ *testing.T, b []byte) {
		r, err := DecodeRule(b)
		if err != nil {
			return
		}
		for _, e := range r.Exprs {
			if d, err := e.Attrs.Nested(2); err == nil {
				_, _ = DecodeVerdict(d)
				_ = Value(d)
			}
		}
	})
}

func FuzzDecodeElements(f *testing.F) {
	f.Add(elems(elem(value(unix.NFTA_SET_ELEM_KEY, 0, 80), value(ElemKeyEnd, 0, 90), at(unix.NFTA_SET_ELEM_USERDATA, remark("x"))), elem(num(unix.NFTA_SET_ELEM_FLAGS, 2), at(unix.NFTA_SET_ELEM_DATA|nested, verdict(Goto, "c")))))
	f.Add(elems(elem([]byte{1, 2, 3})))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if es, err := DecodeElements(b); err == nil {
			for _, e := range es {
				_ = e.IntervalEnd() || e.CatchAll()
			}
		}
	})
}

func FuzzDestination(f *testing.F) {
	dst := at(unix.NFTA_RULE_EXPRESSIONS|nested, exprBytes("meta", num(1, 1), num(2, 16)), exprBytes("cmp", num(1, 1), num(2, 0), at(3|nested, at(1, []byte{6}))),
		exprBytes("payload", num(1, 1), num(2, 1), num(3, 16), num(4, 4)), exprBytes("cmp", num(1, 1), num(2, 0), at(3|nested, at(1, []byte{10, 0, 0, 1}))))
	f.Add(dst, false)
	f.Add(dst, true)
	f.Fuzz(func(t *testing.T, in []byte, is6 bool) {
		a, ok := Destination(in, is6)
		if ok && (!a.IsValid() || a.Is4() == is6) {
			t.Errorf("destination %v", a)
		}
	})
}

func TestDestination(t *testing.T) {
	proto := join(exprBytes("meta", num(1, 1), num(2, 16)), exprBytes("cmp", num(1, 1), num(2, 0), at(3|nested, at(1, []byte{6}))))
	load := exprBytes("payload", num(1, 1), num(2, 1), num(3, 16), num(4, 4))
	is := func(reg, op uint32) []byte {
		return exprBytes("cmp", num(1, reg), num(2, op), at(3|nested, at(1, []byte{10, 0, 0, 1})))
	}
	for _, tt := range []struct {
		name  string
		exprs []byte
		found bool
	}{
		{"behind the protocol", join(proto, load, is(1, 0)), true},
		{"behind a comment", join(exprBytes("match", str(1, "comment")), load, is(1, 0)), true},
		{"not that address", join(load, is(1, 1)), false},
		{"another register", join(load, is(2, 0)), false},
		{"a masked one", join(load, exprBytes("bitwise"), is(1, 0)), false},
		{"the source", join(exprBytes("payload", num(1, 1), num(2, 1), num(3, 12), num(4, 4)), is(1, 0)), false},
		{"behind a mark that is set", join(exprBytes("meta", num(2, 3), num(3, 1)), load, is(1, 0)), false},
		{"behind something unknown", join(exprBytes("frob"), load, is(1, 0)), false},
		{"behind a verdict", join(exprBytes("immediate"), load, is(1, 0)), false},
	} {
		a, ok := Destination(at(unix.NFTA_RULE_EXPRESSIONS|nested, tt.exprs), false)
		if ok != tt.found || ok && a.String() != "10.0.0.1" {
			t.Errorf("%s: got %v, %v", tt.name, a, ok)
		}
	}
}

func TestPort(t *testing.T) {
	load := exprBytes("payload", num(1, 1), num(2, 2), num(3, 2), num(4, 2))
	is := exprBytes("cmp", num(1, 1), num(2, 0), at(3|nested, at(1, []byte{0x75, 0x30})))
	for _, tt := range []struct {
		name  string
		exprs []byte
		found bool
	}{
		{"behind the protocol and a comment", join(exprBytes("meta", num(1, 1), num(2, 16)), exprBytes("match", str(1, "comment")), load, is), true},
		{"the source port", join(exprBytes("payload", num(1, 1), num(2, 2), num(3, 0), num(4, 2)), is), false},
		{"the destination's first bytes", join(exprBytes("payload", num(1, 1), num(2, 1), num(3, 2), num(4, 2)), is), false},
		{"another size", join(load, exprBytes("cmp", num(1, 1), num(2, 0), at(3|nested, at(1, []byte{0x75, 0x30, 0, 0})))), false},
		{"a port above it", join(load, exprBytes("cmp", num(1, 1), num(2, 5), at(3|nested, at(1, []byte{0x75, 0x30})))), false},
		{"a payload is written", join(exprBytes("payload", num(5, 1), num(2, 2), num(3, 2), num(4, 2)), load, is), false},
		{"behind a limit", join(exprBytes("limit"), load, is), false},
	} {
		p, ok := DestinationPort(at(unix.NFTA_RULE_EXPRESSIONS|nested, tt.exprs))
		if ok != tt.found || ok && p != 30000 {
			t.Errorf("%s: got %d, %v", tt.name, p, ok)
		}
	}
}
