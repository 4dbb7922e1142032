// SPDX-License-Identifier: Apache-2.0

// Package nfttable keeps a table of nftables that is portguard's own: a skeleton that
// is always the same (a Spec: sets, chains and their rules), elements of the sets, and
// chains with conditions, one for each attachment that has some. It reads such a
// table, and plans how to get from what is there to what should be.
//
// It knows nothing of hostPorts, and changes nothing: a Source reads, and a Plan is for
// somebody else to apply. A table of that name that is not as a Spec says is left to
// whoever made it.
package nfttable
