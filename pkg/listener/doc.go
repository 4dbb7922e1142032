// SPDX-License-Identifier: Apache-2.0

// Package listener finds the sockets of this network namespace that receive
// what nobody has a connection for, and who holds them. It reads sock_diag and
// /proc and changes nothing.
package listener
