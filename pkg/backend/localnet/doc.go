// SPDX-License-Identifier: Apache-2.0

// Package localnet is the backend of the sysctl route_localnet: a link has it on as long
// as an attachment needs it to reach its pod from 127.0.0.1, and a guard keeps others
// out of 127.0.0.0/8 meanwhile.
//
// Guards are rules, in nftables or in iptables, with a memory: what the sysctl was
// before, and which attachments need it. So a DEL without any record knows whether
// somebody else still does, in whichever guard, and nobody switches off what was on
// before. A guard is made before the sysctl is switched on, and the sysctl is switched
// off before the guard goes.
//
// Somebody may flush a guard while the sysctl is on. Therefore the records of
// attachments are read like one more guard (Backend.Records), though nothing is written
// there: a link that only a record names is known with what it was, Missing asks for its
// guard, and when the last attachment that is recorded there goes, the sysctl is
// switched off. Without records, what a State is told by With it remembers: With, then
// Without of the same attachment, then Apply, switches off what the attachment alone
// needed. What neither guards nor records nor an attachment name stays as it is.
//
// The package is pure: it reaches the kernel by Sysctls and by Guards only.
package localnet
