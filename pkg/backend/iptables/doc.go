// SPDX-License-Identifier: Apache-2.0

// Package iptables keeps mappings in table nat of one flavour of iptables, and the guard
// of route_localnet in table mangle, for the attachments whose mappings are there.
//
// It reads what is there as nf_tables has it, or iptables-legacy, without a program: what
// iptables-save prints of 1,000 attachments costs more than a whole ADD of portmap. Only
// changes are text, for one run of iptables-restore. Package ruleset below decides what
// they are.
package iptables
