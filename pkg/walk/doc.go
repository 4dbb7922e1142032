// SPDX-License-Identifier: Apache-2.0

// Package walk follows a set of packets through iptables rules as the kernel
// would, with a three-valued answer for every match. It is pure.
//
// The set is: one protocol, one destination address and port, any source, any
// source port, connection state NEW. The walk must never say that nobody
// translates such a packet while the kernel does; whatever it cannot decide
// stays open and the walk goes on behind it.
package walk
