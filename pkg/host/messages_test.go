// SPDX-License-Identifier: Apache-2.0

package host

import (
	"flag"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// What else the package says is in package node, which asks it all that there is.
func TestMessages(t *testing.T) {
	m := golden.New(t)
	m.Section("an ipset of which the kernel does not tell what it was asked for")
	other := append(make([]byte, nl.SizeofNfgenmsg), nl.NewRtAttr(nl.IPSET_ATTR_FAMILY, nl.Uint8Attr(2)).Serialize()...)
	for _, msgs := range [][][]byte{nil, {other}} {
		_, err := text(msgs, nl.IPSET_ATTR_TYPENAME, "type")
		m.AddError("109", err)
	}
	m.Check(*update)
}
