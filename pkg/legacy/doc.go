// SPDX-License-Identifier: Apache-2.0

// Package legacy decodes the tables of iptables-legacy, as the kernel hands them out
// (IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES and those of ip6tables), into rules of nf_tables:
// those that iptables-nft would have made of the same text. It is pure: package rules has
// the socket.
//
// The structures are those of include/uapi/linux/netfilter/x_tables.h,
// netfilter_ipv4/ip_tables.h and netfilter_ipv6/ip6_tables.h. Numbers are in the machine's
// order, and alignment is that of architectures on which a 64-bit number has eight bytes.
package legacy
