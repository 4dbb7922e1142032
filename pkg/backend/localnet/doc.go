// SPDX-License-Identifier: Apache-2.0

// Package localnet is the backend of the sysctl route_localnet: a link has it on as long
// as an attachment needs it to reach its pod from 127.0.0.1, and a guard keeps others
// out of 127.0.0.0/8 meanwhile.
//
// Guards are rules, in nftables or in iptables. A link has one if the sysctl was off before
// portguard needed it, so that nobody switches off what was on, and all passes that passed.
// A guard is made before the sysctl is switched on, and the sysctl is switched off before
// the guard goes.
//
// The guard does not remember who needs a link; the mappings do (Backend.Users). Records
// tell it too (Backend.Records), for two cases. Somebody was killed between the guard and
// the mappings; or somebody flushed them while the sysctl is on. Records also remember
// the old value of the sysctl where no guard is.
//
// A link is switched off, and its guard goes, with the change that takes its last known
// user away. Adding and then removing an attachment counts too, even if it was not
// known before. A link of which no user is known stays as it is: there may be records
// that were not given.
//
// The package is pure: it reaches the kernel by Sysctls and by Guards only.
package localnet
