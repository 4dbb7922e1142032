// SPDX-License-Identifier: Apache-2.0

// Package nft knows how nf_tables writes tables, chains, rules and sets into netlink
// messages, and builds transactions of them. It is pure: package nftconn has the socket.
//
// google/nftables is not used: when it reads it drops expressions that it does not know
// without a word, so that a rule could look harmless that is not. docs/dependencies.md
// has the other reasons.
package nft
