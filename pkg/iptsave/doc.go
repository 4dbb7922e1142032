// SPDX-License-Identifier: Apache-2.0

// Package iptsave reads and writes the text of iptables-save and
// iptables-restore, of both flavours and families. It is pure: it never runs a
// tool.
package iptsave
