// SPDX-License-Identifier: Apache-2.0

// Package iptables keeps mappings in table nat of one flavour of iptables, and the guard
// of route_localnet in table mangle for kernels without nf_tables. It reads and writes;
// package ruleset below it decides what the rules are.
package iptables
