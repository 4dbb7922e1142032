// SPDX-License-Identifier: Apache-2.0

// Package nfttable knows portguard's table of native nftables: what an
// attachment has in it, what all of them share, and how to get from what is
// there to what should be.
//
//	table inet portguard {
//		map ports4        { inet_proto . inet_service : ipv4_addr . inet_service }              wildcard mappings
//		map addresses4    { ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }  mappings with a hostIP
//		map localhost     { inet_proto . inet_service : ipv4_addr . inet_service }              127.0.0.1 of wildcards
//		map conditions4   { ipv4_addr . inet_proto . inet_service : verdict }                   those with conditions
//		set spared4       { inet_proto . inet_service . ipv4_addr }   what a wildcard leaves alone
//		set masquerade4   { pod, protocol, hostPort }
//		set neighbours4   { original destination, source, pod }       whose connections are masqueraded
//		set links         { link, original destination, pod, protocol, hostPort }   where localhost leads
//		set guarded       { ifname }                                  links with route_localnet
//		... and the same for IPv6
//		chain prerouting, output      at -95, behind every dstnat
//		chain hostports4, hostports6
//		chain postrouting, masquerading at 90, before every srcnat
//		chain guard                   at -150
//		chain if-KEY-DIGEST           one for each attachment with conditions
//	}
//
// Rules of hostports4 for sets in which nothing is are left out, and connections
// pass by masquerading unless they come from a pod's network (see options).
//
// One look-up finds a hostPort, however many there are. Owners are in the
// comments of the elements, so that the kernel alone tells whose they are.
package nfttable
