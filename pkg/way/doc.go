// SPDX-License-Identifier: Apache-2.0

// Package way is the one model of what becomes of a packet to a hostPort, from the link by
// which it comes in to the answer that goes back: who has it (rules that translate, in the
// order of the kernel, then sockets), and what keeps it, or its answer, from getting there
// (filters, forwarding, rp_filter, routes). All commands answer from it. It is pure: rules
// are followed by package conflict, and the kernel is asked for routes through Router.
package way
