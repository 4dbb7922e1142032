// SPDX-License-Identifier: Apache-2.0

// Package conflict decides whether a request may have its hostPorts. It is a
// pure function of the request and a snapshot of the node, and the whole
// argument that nobody loses traffic is here.
package conflict
