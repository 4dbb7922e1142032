// SPDX-License-Identifier: Apache-2.0

package nft

import "golang.org/x/sys/unix"

// Attributes of include/uapi/linux/netfilter/nf_tables.h by short names. Those with a
// number are newer than golang.org/x/sys/unix.
const (
	tableName  = unix.NFTA_TABLE_NAME
	tableFlags = unix.NFTA_TABLE_FLAGS

	chainTable  = unix.NFTA_CHAIN_TABLE
	chainName   = unix.NFTA_CHAIN_NAME
	chainHook   = unix.NFTA_CHAIN_HOOK
	chainPolicy = unix.NFTA_CHAIN_POLICY
	chainType   = unix.NFTA_CHAIN_TYPE

	hookNum      = unix.NFTA_HOOK_HOOKNUM
	hookPriority = unix.NFTA_HOOK_PRIORITY

	ruleTable    = unix.NFTA_RULE_TABLE
	ruleChain    = unix.NFTA_RULE_CHAIN
	ruleHandle   = unix.NFTA_RULE_HANDLE
	ruleExprs    = unix.NFTA_RULE_EXPRESSIONS
	ruleUserdata = unix.NFTA_RULE_USERDATA

	listElem = unix.NFTA_LIST_ELEM
	exprName = unix.NFTA_EXPR_NAME
	exprData = unix.NFTA_EXPR_DATA

	setTable    = unix.NFTA_SET_TABLE
	setName     = unix.NFTA_SET_NAME
	setFlags    = unix.NFTA_SET_FLAGS
	setKeyType  = unix.NFTA_SET_KEY_TYPE
	setKeyLen   = unix.NFTA_SET_KEY_LEN
	setDataType = unix.NFTA_SET_DATA_TYPE
	setDataLen  = unix.NFTA_SET_DATA_LEN
	setDesc     = unix.NFTA_SET_DESC
	setID       = unix.NFTA_SET_ID
	setUserdata = unix.NFTA_SET_USERDATA
	setExpr     = 17 // NFTA_SET_EXPR

	setDescConcat = 2 // NFTA_SET_DESC_CONCAT
	setFieldLen   = 1 // NFTA_SET_FIELD_LEN

	elemListTable = unix.NFTA_SET_ELEM_LIST_TABLE
	elemListSet   = unix.NFTA_SET_ELEM_LIST_SET
	elemListElems = unix.NFTA_SET_ELEM_LIST_ELEMENTS

	elemKey      = unix.NFTA_SET_ELEM_KEY
	elemData     = unix.NFTA_SET_ELEM_DATA
	elemFlags    = unix.NFTA_SET_ELEM_FLAGS
	elemUserdata = unix.NFTA_SET_ELEM_USERDATA
	elemExpr     = unix.NFTA_SET_ELEM_EXPR
	elemKeyEnd   = 10 // NFTA_SET_ELEM_KEY_END
	elemExprs    = 11 // NFTA_SET_ELEM_EXPRESSIONS

	dataValue   = unix.NFTA_DATA_VALUE
	dataVerdict = unix.NFTA_DATA_VERDICT

	verdictCode  = unix.NFTA_VERDICT_CODE
	verdictChain = unix.NFTA_VERDICT_CHAIN

	// libnftnl's NFTNL_UDATA_SET_KEYBYTEORDER and nft's BYTEORDER_HOST_ENDIAN.
	udataKeyByteorder = 0
	hostEndian        = 1
)
