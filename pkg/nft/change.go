// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// CreateTable adds a table, which must not be there.
func (b *Batch) CreateTable(t Table) {
	b.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t, Attrs{}.WithText(unix.NFTA_TABLE_NAME, t.Name), "create")
}

// WakeTable takes the flag dormant from a table.
func (b *Batch) WakeTable(t Table) {
	b.add(unix.NFT_MSG_NEWTABLE, 0, t, Attrs{}.WithText(unix.NFTA_TABLE_NAME, t.Name).WithNum(unix.NFTA_TABLE_FLAGS, 0), "wake")
}

// DeleteTable removes a table with all that is in it.
func (b *Batch) DeleteTable(t Table) {
	b.add(unix.NFT_MSG_DELTABLE, 0, t, Attrs{}.WithText(unix.NFTA_TABLE_NAME, t.Name), "delete")
}

// DropTable removes a table and those chains of it, unless there is anything else in it or in
// them: NLM_F_NONREC, with which the kernel says EBUSY then.
func (b *Batch) DropTable(t Table, chains ...string) {
	for _, name := range chains {
		a := Attrs{}.WithText(unix.NFTA_CHAIN_TABLE, t.Name).WithText(unix.NFTA_CHAIN_NAME, name)
		b.add(unix.NFT_MSG_DELCHAIN, unix.NLM_F_NONREC, t, a, "drop chain %s", name)
	}
	b.add(unix.NFT_MSG_DELTABLE, unix.NLM_F_NONREC, t, Attrs{}.WithText(unix.NFTA_TABLE_NAME, t.Name), "drop")
}

// AddChain adds a chain: a base chain with the policy accept if it has a type.
func (b *Batch) AddChain(c Chain) {
	a := Attrs{}.WithText(unix.NFTA_CHAIN_TABLE, c.Table.Name).WithText(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Type != "" {
		hook := Attrs{}.WithNum(unix.NFTA_HOOK_HOOKNUM, c.Hook).WithNum(unix.NFTA_HOOK_PRIORITY, uint32(c.Priority))
		a = a.Nest(unix.NFTA_CHAIN_HOOK, hook).WithNum(unix.NFTA_CHAIN_POLICY, uint32(Accept)).WithText(unix.NFTA_CHAIN_TYPE, c.Type)
	}
	b.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, c.Table, a, "add chain %s", c.Name)
}

// DeleteChain removes a chain and its rules.
func (b *Batch) DeleteChain(t Table, name string) {
	a := Attrs{}.WithText(unix.NFTA_CHAIN_TABLE, t.Name).WithText(unix.NFTA_CHAIN_NAME, name)
	b.FlushChain(t, name)
	b.add(unix.NFT_MSG_DELCHAIN, 0, t, a, "delete chain %s", name)
}

// FlushChain removes the rules of a chain.
func (b *Batch) FlushChain(t Table, name string) {
	b.add(unix.NFT_MSG_DELRULE, 0, t, Attrs{}.WithText(unix.NFTA_RULE_TABLE, t.Name).WithText(unix.NFTA_RULE_CHAIN, name), "flush chain %s", name)
}

// AddRule appends a rule.
func (b *Batch) AddRule(t Table, chain string, r Rule) {
	var list Attrs
	for _, e := range r.Exprs {
		list = list.Nest(unix.NFTA_LIST_ELEM, Attrs{}.WithText(unix.NFTA_EXPR_NAME, e.Name).Nest(unix.NFTA_EXPR_DATA, e.Attrs))
	}
	a := Attrs{}.WithText(unix.NFTA_RULE_TABLE, t.Name).WithText(unix.NFTA_RULE_CHAIN, chain).Nest(unix.NFTA_RULE_EXPRESSIONS, list)
	if r.Comment != "" {
		a = a.putComment(unix.NFTA_RULE_USERDATA, r.Comment)
	}
	b.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, t, a, "add a rule to chain %s", chain)
}

// DeleteRule removes one rule.
func (b *Batch) DeleteRule(t Table, chain string, handle uint64) {
	a := Attrs{}.WithText(unix.NFTA_RULE_TABLE, t.Name).WithText(unix.NFTA_RULE_CHAIN, chain).With(unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, handle))
	b.add(unix.NFT_MSG_DELRULE, 0, t, a, "delete rule %d of chain %s", handle, chain)
}

// AddSet adds a set or map. Fields are the lengths of the parts of its key.
func (b *Batch) AddSet(s Set, keyType, dataType uint32, dataLen int, fields []int) {
	a := Attrs{}.WithText(unix.NFTA_SET_TABLE, s.Table.Name).WithText(unix.NFTA_SET_NAME, s.Name).WithNum(unix.NFTA_SET_FLAGS, s.Flags).
		WithNum(unix.NFTA_SET_KEY_TYPE, keyType).WithNum(unix.NFTA_SET_KEY_LEN, uint32(s.KeyLen)).WithNum(unix.NFTA_SET_ID, uint32(len(b.msgs)+1))
	if s.Flags&SetMap != 0 {
		a = a.WithNum(unix.NFTA_SET_DATA_TYPE, dataType).WithNum(unix.NFTA_SET_DATA_LEN, uint32(dataLen))
	}
	if len(fields) == 1 {
		// nft must be told that a key such as a link is no number in network order.
		const keyByteorder, hostEndian = 0, 1 // libnftnl's NFTNL_UDATA_SET_KEYBYTEORDER, nft's BYTEORDER_HOST_ENDIAN
		a = a.With(unix.NFTA_SET_USERDATA, append([]byte{keyByteorder, 4}, binary.NativeEndian.AppendUint32(nil, hostEndian)...))
	}
	if s.Flags&SetConcat != 0 {
		var list Attrs
		for _, n := range fields {
			list = list.Nest(unix.NFTA_LIST_ELEM, Attrs{}.WithNum(setFieldLen, uint32(n)))
		}
		a = a.Nest(unix.NFTA_SET_DESC, Attrs{}.Nest(setDescConcat, list))
	}
	if s.Counted {
		a = a.Nest(setExpr, Attrs{}.WithText(unix.NFTA_EXPR_NAME, "counter"))
	}
	b.add(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, s.Table, a, "add set %s", s.Name)
}

// CreateElement adds an element, which must not be there: the kernel refuses a
// second claimant of the same key.
func (b *Batch) CreateElement(t Table, set string, e Element) {
	b.element(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t, set, e, "create element")
}

// DeleteElement removes an element. The kernel looks at the key only.
func (b *Batch) DeleteElement(t Table, set string, e Element) {
	b.element(unix.NFT_MSG_DELSETELEM, 0, t, set, Element{Key: e.Key, KeyEnd: e.KeyEnd, Text: e.Text}, "delete element")
}

func (b *Batch) element(typ, flags uint16, t Table, set string, e Element, verb string) {
	a := Attrs(b.room[len(b.room):]).putText(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name).putText(unix.NFTA_SET_ELEM_LIST_SET, set)
	a, list := a.open(unix.NFTA_SET_ELEM_LIST_ELEMENTS | unix.NLA_F_NESTED)
	a, elem := a.open(unix.NFTA_LIST_ELEM | unix.NLA_F_NESTED)
	a = a.putData(unix.NFTA_SET_ELEM_KEY, e.Key)
	if e.KeyEnd != nil {
		a = a.putData(ElemKeyEnd, e.KeyEnd)
	}
	switch {
	case e.Verdict.Chain != "":
		a = a.put(unix.NFTA_SET_ELEM_DATA|unix.NLA_F_NESTED, e.Verdict.data())
	case e.Data != nil:
		a = a.putData(unix.NFTA_SET_ELEM_DATA, e.Data)
	}
	if e.Comment != "" {
		a = a.putComment(unix.NFTA_SET_ELEM_USERDATA, e.Comment)
	}
	a = a.close(elem).close(list)
	b.room = a[len(a):]
	name := e.Text // and no more of e is kept
	b.msgs = append(b.msgs, message{typ, flags, t.Family, a[:len(a):len(a)], func() string {
		return fmt.Sprintf("%s %s of set %s of table %s", verb, name(), set, t)
	}})
}

// MaxComment is the longest comment that nft takes (NFTNL_UDATA_COMMENT_MAXLEN).
const MaxComment = 128

// putComment is put for a comment as comment reads it.
func (a Attrs) putComment(typ uint16, s string) Attrs {
	s = s[:min(len(s), MaxComment)]
	a, at := a.open(typ)
	return append(append(append(a, 0, byte(len(s)+1)), s...), 0).close(at)
}
