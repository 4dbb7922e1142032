// SPDX-License-Identifier: Apache-2.0

// Package host is the thin edge to the kernel besides rules and sockets:
// addresses, links, sysctls, ipsets and connection tracking.
package host
