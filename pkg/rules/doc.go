// SPDX-License-Identifier: Apache-2.0

// Package rules reads everybody's rules in one representation, those of nf_tables: over
// netlink what nf_tables has, iptables-nft's among it, and by socket options what
// iptables-legacy has. It starts no program and changes nothing.
package rules
