// SPDX-License-Identifier: Apache-2.0

// Package walk follows a set of packets through rules as the kernel would, with a
// three-valued answer for every match. It is pure.
//
// The set is: one protocol, some destination addresses and one port, any source unless
// Packet.Src, In or Links narrow it, any source port, connection state NEW. The rules are
// those of nf_tables, expression by expression. Rules of iptables-nft are nothing else,
// and those of iptables-legacy come in the same form.
//
// The walk must never say that nobody translates such a packet while the kernel does.
// What it cannot decide stays open, and the walk goes on behind it.
package walk
