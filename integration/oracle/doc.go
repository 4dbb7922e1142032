// SPDX-License-Identifier: Apache-2.0

// Package oracle compares portguard's decision with what the kernel does:
// random rules are loaded into a namespace, real packets are sent, and conntrack
// tells whether they were translated.
package oracle
