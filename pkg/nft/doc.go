// SPDX-License-Identifier: Apache-2.0

// Package nft reads nf_tables over netlink: base chains, rules, and single
// elements of sets. It needs no nft binary, never lists what it was not asked
// for, and changes nothing.
//
// google/nftables is not used for reading: it drops expressions it does not know
// without a word, so that a rule could look harmless that is not.
package nft
