// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func cstring(s string) []byte { return append([]byte(s), 0) }

func nest(typ uint16) uint16 { return typ | unix.NLA_F_NESTED }

// CreateTable adds a table, which must not be there.
func (b *Batch) CreateTable(t Table) {
	b.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t, Attrs{}.With(tableName, cstring(t.Name)), "create")
}

// WakeTable takes the flag dormant from a table.
func (b *Batch) WakeTable(t Table) {
	b.add(unix.NFT_MSG_NEWTABLE, 0, t, Attrs{}.With(tableName, cstring(t.Name)).With(2, be32(0)), "wake")
}

// DeleteTable removes a table with all that is in it.
func (b *Batch) DeleteTable(t Table) {
	b.add(unix.NFT_MSG_DELTABLE, 0, t, Attrs{}.With(tableName, cstring(t.Name)), "delete")
}

// AddChain adds a chain: a base chain with the policy accept if it has a type.
func (b *Batch) AddChain(c Chain) {
	a := Attrs{}.With(chainTable, cstring(c.Table.Name)).With(chainName, cstring(c.Name))
	if c.Type != "" {
		hook := Attrs{}.With(hookNum, be32(c.Hook)).With(hookPriority, be32(uint32(c.Priority)))
		a = a.With(nest(chainHook), hook).With(chainPolicy, be32(uint32(Accept))).With(chainType, cstring(c.Type))
	}
	b.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, c.Table, a, "add chain %s", c.Name)
}

// DeleteChain removes a chain and its rules.
func (b *Batch) DeleteChain(t Table, name string) {
	a := Attrs{}.With(chainTable, cstring(t.Name)).With(chainName, cstring(name))
	b.FlushChain(t, name)
	b.add(unix.NFT_MSG_DELCHAIN, 0, t, a, "delete chain %s", name)
}

// FlushChain removes the rules of a chain.
func (b *Batch) FlushChain(t Table, name string) {
	b.add(unix.NFT_MSG_DELRULE, 0, t, Attrs{}.With(ruleTable, cstring(t.Name)).With(ruleChain, cstring(name)), "flush chain %s", name)
}

// AddRule appends a rule.
func (b *Batch) AddRule(t Table, chain string, r Rule) {
	var list Attrs
	for _, e := range r.Exprs {
		list = list.With(nest(listElem), Attrs{}.With(exprName, cstring(e.Name)).With(nest(exprData), e.Attrs))
	}
	a := Attrs{}.With(ruleTable, cstring(t.Name)).With(ruleChain, cstring(chain)).With(nest(ruleExprs), list)
	if r.Comment != "" {
		a = a.With(ruleUserdata, userdata(r.Comment))
	}
	b.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, t, a, "add a rule to chain %s", chain)
}

// DeleteRule removes one rule.
func (b *Batch) DeleteRule(t Table, chain string, handle uint64) {
	a := Attrs{}.With(ruleTable, cstring(t.Name)).With(ruleChain, cstring(chain)).With(ruleHandle, binary.BigEndian.AppendUint64(nil, handle))
	b.add(unix.NFT_MSG_DELRULE, 0, t, a, "delete rule %d of chain %s", handle, chain)
}

// AddSet adds a set or map. Fields are the lengths of the parts of its key.
func (b *Batch) AddSet(s Set, keyType, dataType uint32, dataLen int, fields []int) {
	a := Attrs{}.With(setTable, cstring(s.Table.Name)).With(setName, cstring(s.Name)).With(setFlags, be32(s.Flags)).
		With(setKeyType, be32(keyType)).With(setKeyLen, be32(uint32(s.KeyLen))).With(setID, be32(uint32(len(b.msgs)+1)))
	if s.Flags&SetMap != 0 {
		a = a.With(setDataType, be32(dataType)).With(setDataLen, be32(uint32(dataLen)))
	}
	if len(fields) == 1 && fields[0] > 4 {
		// nft must be told that a key such as a name is no number.
		a = a.With(setUserdata, append([]byte{udataKeyByteorder, 4}, binary.NativeEndian.AppendUint32(nil, hostEndian)...))
	}
	if s.Flags&SetConcat != 0 {
		var list Attrs
		for _, n := range fields {
			list = list.With(nest(listElem), Attrs{}.With(setFieldLen, be32(uint32(n))))
		}
		a = a.With(nest(setDesc), Attrs{}.With(nest(setDescConcat), list))
	}
	if s.Counted {
		a = a.With(nest(setExpr), Attrs{}.With(exprName, cstring("counter")))
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
	elem := Attrs{}.With(nest(elemKey), Attrs{}.With(dataValue, e.Key))
	if e.KeyEnd != nil {
		elem = elem.With(nest(elemKeyEnd), Attrs{}.With(dataValue, e.KeyEnd))
	}
	switch {
	case e.Verdict.Chain != "":
		v := Attrs{}.With(verdictCode, be32(uint32(e.Verdict.Code))).With(verdictChain, cstring(e.Verdict.Chain))
		elem = elem.With(nest(elemData), Attrs{}.With(nest(dataVerdict), v))
	case e.Data != nil:
		elem = elem.With(nest(elemData), Attrs{}.With(dataValue, e.Data))
	}
	if e.Comment != "" {
		elem = elem.With(elemUserdata, userdata(e.Comment))
	}
	a := Attrs{}.With(elemListTable, cstring(t.Name)).With(elemListSet, cstring(set)).
		With(nest(elemListElems), Attrs{}.With(nest(listElem), elem))
	b.add(typ, flags, t, a, "%s %s of set %s", verb, e.Text, set)
}

// MaxComment is the longest comment that nft takes (NFTNL_UDATA_COMMENT_MAXLEN).
const MaxComment = 128

// userdata is a comment as comment reads it.
func userdata(s string) []byte {
	s = s[:min(len(s), MaxComment)]
	return append([]byte{0, byte(len(s) + 1)}, cstring(s)...)
}
