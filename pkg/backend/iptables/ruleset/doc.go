// SPDX-License-Identifier: Apache-2.0

// Package ruleset knows which iptables rules an attachment needs and how to get
// there from the rules that are in place. ADD, repair and CHECK start from the same
// function, Layout.Put, and DEL is its inverse, Layout.Remove. It is pure: rules come as
// the kernel has them (FromRules; FromSave for the way back), and the plan is the text
// that iptables-restore reads.
package ruleset
