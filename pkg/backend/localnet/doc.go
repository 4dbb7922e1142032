// SPDX-License-Identifier: Apache-2.0

// Package localnet is the backend of the sysctl route_localnet: a link has it on as long
// as an attachment needs it to reach its pod from 127.0.0.1, and a guard keeps others
// out of 127.0.0.0/8 meanwhile.
//
// Guards are rules, in nftables or in iptables, with a memory of what the sysctl was
// before, so that nobody switches off what was on. A link has one guard: the one that
// the last attachment which came is written with. A guard is made before the sysctl is
// switched on, and the sysctl is switched off before the guard goes.
//
// Who needs a link the guard does not remember: the mappings tell it (Backend.Users).
// Records tell it too (Backend.Records), for two cases. Somebody was killed between the
// guard and the mappings; or somebody flushed them while the sysctl is on. What a link
// was they tell where no guard does.
//
// A link is switched off, and its guard goes, with the change that takes its last known
// user away. With, then Without of the same attachment, is such a change, also if
// nothing told of it before. A link of which no user is known stays as it is: there may
// be records that were not given.
//
// The package is pure: it reaches the kernel by Sysctls and by Guards only.
package localnet
