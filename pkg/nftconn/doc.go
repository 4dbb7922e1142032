// SPDX-License-Identifier: Apache-2.0

// Package nftconn asks the nf_tables of the calling thread's network namespace over
// netlink, and applies transactions. It needs no nft program, but for rules in the
// words of a user (RunScript), and never lists what it was not asked for.
package nftconn
