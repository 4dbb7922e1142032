// SPDX-License-Identifier: Apache-2.0

// Package state keeps one small file for each attachment that has hostPorts,
// and the lock of the node. The kernel's rules are the truth; the files make a
// DEL without a configuration possible, name owners, and tell a dead one.
package state
