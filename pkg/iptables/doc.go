// SPDX-License-Identifier: Apache-2.0

// Package iptables runs iptables-save and iptables-restore of both flavours. It
// is the only code that forks. go-iptables is not used because it has neither
// of the two: it forks once a rule.
package iptables
