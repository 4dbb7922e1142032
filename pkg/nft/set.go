// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// A Set is what a look-up must know of a set or map.
type Set struct {
	Table  Table
	Name   string
	Flags  uint32
	KeyLen int
	// Fields are the bytes of each part of a key that has several, up to the first 0: none if it has not.
	Fields [16]uint8
	// Verdicts is set for a verdict map.
	Verdicts bool
	// Counted sets count for each element how often it was found (Linux 5.7).
	Counted bool
}

// Flags of sets and elements.
const (
	SetAnonymous = unix.NFT_SET_ANONYMOUS
	SetInterval  = unix.NFT_SET_INTERVAL
	SetMap       = unix.NFT_SET_MAP
	// SetDynamic is what rules add to.
	SetDynamic = unix.NFT_SET_EVAL
	// SetConcat is NFT_SET_CONCAT: an interval in each field of the key.
	SetConcat = 0x80

	elemIntervalEnd = unix.NFT_SET_ELEM_INTERVAL_END
	// ElemCatchAll is NFT_SET_ELEM_CATCHALL.
	ElemCatchAll = 0x2
)

// An Element is a member of a set.
type Element struct {
	Key, KeyEnd []byte
	Flags       uint32
	// Verdict is what a verdict map holds.
	Verdict Verdict
	// Data is what a map of values holds.
	Data    []byte
	Comment string
	// Text is how an error names it: of thousands hardly one is.
	Text func() string
	// Stateful is set if the element carries an expression of its own, such as
	// a limit, which may end the rule. A counter does not.
	Stateful bool
	// Expires is set if the element goes by itself.
	Expires bool
	// Packets is how often the element was found, if it is Counted.
	Packets uint64
	Counted bool
}

// IntervalEnd reports whether the element only ends the interval before it.
func (e Element) IntervalEnd() bool { return e.Flags&elemIntervalEnd != 0 }

// CatchAll reports whether the element stands for all keys that no other has.
func (e Element) CatchAll() bool { return e.Flags&ElemCatchAll != 0 }

// MaxListed is how many elements of a named set are listed. The kernel begins each read of a
// dump at the first element: twice as many take four times as long.
const MaxListed = 20_000

// A Verdict is what becomes of a packet; Chain is where a jump or goto leads.
type Verdict struct {
	Code  int32
	Chain string
}

// Verdict codes (include/uapi/linux/netfilter.h and nf_tables.h).
const (
	Drop     int32 = 0
	Accept   int32 = 1
	Queue    int32 = 3
	Continue int32 = -1
	Break    int32 = -2
	Jump     int32 = -3
	Goto     int32 = -4
	Return   int32 = -5
)

// TypeVerdict is NFT_DATA_VERDICT, the data type of a verdict map.
const TypeVerdict = 0xffffff00

// DecodeSet reads the description of a set of table t.
func DecodeSet(t Table, b []byte) (Set, error) {
	a, err := parseAttrs(b)
	s := Set{Table: t, Name: a.Text(unix.NFTA_SET_NAME)}
	s.Flags, _ = a.Num(unix.NFTA_SET_FLAGS)
	n, _ := a.Num(unix.NFTA_SET_KEY_LEN)
	s.KeyLen = int(n)
	desc, err1 := a.Nested(unix.NFTA_SET_DESC)
	list, err2 := desc.Nested(setDescConcat)
	i := 0
	for _, elem := range list.all() {
		if size, _ := Attrs(elem).Num(setFieldLen); i < len(s.Fields) {
			s.Fields[i] = uint8(size)
		}
		i++
	}
	typ, isMap := a.Num(unix.NFTA_SET_DATA_TYPE)
	s.Verdicts = isMap && typ == TypeVerdict
	return s, cmp.Or(err, err1, err2)
}

// DecodeElements reads the elements of one message.
func DecodeElements(b []byte) ([]Element, error) { return AppendElements(nil, b) }

// AppendElements is DecodeElements behind others.
func AppendElements(out []Element, b []byte) ([]Element, error) {
	a, err := parseAttrs(b)
	if err != nil {
		return out, err
	}
	list, _ := a.Get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	err = EachAttr(list, func(_ uint16, elem []byte) error {
		e, err := decodeElement(elem)
		out = append(out, e)
		return err
	})
	return out, err
}

func decodeElement(b []byte) (e Element, err error) {
	a, err := parseAttrs(b)
	if err != nil {
		return e, err
	}
	key, err1 := a.Nested(unix.NFTA_SET_ELEM_KEY)
	end, err2 := a.Nested(ElemKeyEnd)
	held, err3 := a.Nested(unix.NFTA_SET_ELEM_DATA)
	verdict, err4 := DecodeVerdict(held)
	said, _ := a.Get(unix.NFTA_SET_ELEM_USERDATA)
	e = Element{Key: Value(key), KeyEnd: Value(end), Data: Value(held), Verdict: verdict, Comment: comment(said)}
	e.Flags, _ = a.Num(unix.NFTA_SET_ELEM_FLAGS)
	_, e.Expires = a.Get(unix.NFTA_SET_ELEM_EXPIRATION)
	e.Packets, e.Counted, e.Stateful, err = decodeState(a)
	return e, errors.Join(err1, err2, err3, err4, err)
}

// decodeState reads what an element counts, or reports that it does something else.
func decodeState(elem Attrs) (packets uint64, counted, stateful bool, err error) {
	const counterPackets = 2
	_, several := elem.Get(elemExprs)
	if _, one := elem.Get(unix.NFTA_SET_ELEM_EXPR); !one {
		return 0, false, several, nil
	}
	x, err := elem.Nested(unix.NFTA_SET_ELEM_EXPR)
	if err != nil || x.Text(unix.NFTA_EXPR_NAME) != "counter" {
		return 0, false, true, err
	}
	data, err := x.Nested(unix.NFTA_EXPR_DATA)
	if b, _ := data.Get(counterPackets); len(b) == 8 {
		packets = binary.BigEndian.Uint64(b)
	}
	return packets, true, several, err
}

// DecodeVerdict reads the verdict in NFTA_DATA attributes; without one it is
// Continue.
func DecodeVerdict(data Attrs) (Verdict, error) {
	b, ok := data.Get(unix.NFTA_DATA_VERDICT)
	if !ok {
		return Verdict{Code: Continue}, nil
	}
	v, err := parseAttrs(b)
	code, _ := v.Num(unix.NFTA_VERDICT_CODE)
	return Verdict{Code: int32(code), Chain: v.Text(unix.NFTA_VERDICT_CHAIN)}, err
}

// data is v in NFTA_DATA attributes.
func (v Verdict) data() Attrs {
	a := Attrs{}.WithNum(unix.NFTA_VERDICT_CODE, uint32(v.Code))
	if v.Chain != "" {
		a = a.WithText(unix.NFTA_VERDICT_CHAIN, v.Chain)
	}
	return Attrs{}.Nest(unix.NFTA_DATA_VERDICT, a)
}

// Value returns the bytes in NFTA_DATA attributes.
func Value(data Attrs) []byte {
	b, _ := data.Get(unix.NFTA_DATA_VALUE)
	return b
}

// comment reads nft's user data: type, length, value; type 0 is the comment
// (libnftnl, NFTNL_UDATA_SET_ELEM_COMMENT).
func comment(b []byte) string {
	for len(b) >= 2 {
		n := int(b[1])
		if 2+n > len(b) {
			return ""
		}
		if b[0] == 0 && n > 0 {
			return string(b[2 : 2+n-1])
		}
		b = b[2+n:]
	}
	return ""
}
