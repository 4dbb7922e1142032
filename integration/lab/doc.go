// SPDX-License-Identifier: Apache-2.0

// Package lab makes a node, a client and pods out of network namespaces and
// runs real plugins and real traffic in them. It never changes the initial
// network namespace.
package lab
