// SPDX-License-Identifier: Apache-2.0

// Package conflict decides whether a request may have its hostPorts. It is pure: the
// decision is a function of the request and of a Snapshot of the node. What may be too much
// to read at once (the rules of a chain, one member of a set) is asked for by the
// interfaces of package walk. The whole argument that nobody loses traffic is here; what
// each finding means is in the table of package finding.
package conflict
