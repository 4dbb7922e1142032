// SPDX-License-Identifier: Apache-2.0

// Package ruleset knows which iptables rules an attachment needs and how to get
// there from the rules that are in place. ADD, DEL and CHECK all start from the
// same function, Layout.Put, so that they cannot drift apart. It is pure: rules come as
// the text of iptables-save, and the plan is the text that iptables-restore reads.
package ruleset
