// SPDX-License-Identifier: Apache-2.0

// Package iptables runs the tools of both flavours: iptables-restore to change
// portguard's rules; iptables-save to write out a rule for a message and what a failed
// change must bring back; iptables --version where plain iptables is a wrapper, and
// iptables once for each rule where those of portmap are removed.
package iptables
