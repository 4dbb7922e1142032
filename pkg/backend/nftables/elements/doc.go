// SPDX-License-Identifier: Apache-2.0

// Package elements knows what attachments have in portguard's tables of nftables, and
// the fixed parts of those tables.
//
//	table inet portguard {
//		set own4          { ipv4_addr . inet_service }   where mappings may be at all
//		map ports4        { inet_proto . inet_service : ipv4_addr . inet_service }              wildcard mappings
//		map addresses4    { ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }  mappings with a hostIP
//		map localhost     { inet_proto . inet_service : ipv4_addr . inet_service }              127.0.0.1 of wildcards
//		map conditions4   { ipv4_addr . inet_proto . inet_service : verdict }                   those with conditions, and with links
//		set bylink4       { link, address, protocol, hostPort }       what comes in by a link and is a listener's there
//		set spared4       { inet_proto . inet_service . ipv4_addr }   what a wildcard leaves alone
//		set masquerade4   { pod, protocol, hostPort }
//		set neighbours4   { original destination, source, pod }       whose connections are masqueraded
//		set links         { link, original destination, pod, protocol, hostPort }   where localhost leads
//		... and the same for IPv6
//		chain prerouting, output        at -95, behind every dstnat
//		chain hostports4, hostports6, loopback4
//		chain bylink4, bylink6          mappings that leave out links
//		chain postrouting, masquerading at 90, before every srcnat
//		chain if-KEY-DIGEST             one for each attachment with conditions
//	}
//	table inet portguard-localnet {
//		set guarded       { link }      links on which portguard switched route_localnet on
//		chain gate                      at -199, before every translation
//		chain guard                     behind everything else in input
//		chain answers                   before everything else in output
//		chain unasked                   what is no answer to the node
//	}
//
// One look-up finds a hostPort, however many there are. Owners are in the
// comments of the elements, so that the kernel alone tells whose they are. The rules
// are constant.
//
// The package is pure: package nftables reads the tables and changes them.
package elements
