// SPDX-License-Identifier: Apache-2.0

// Package iptables runs iptables-save and iptables-restore of both flavours. They are
// asked to print portguard's own rules, and to change them, never to decide about the
// rules of others. go-iptables runs iptables once for each rule and has neither tool,
// so a change would not be one transaction.
package iptables
