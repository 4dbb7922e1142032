// SPDX-License-Identifier: Apache-2.0

package host

import (
	"flag"
	"strings"
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
	m.Section("a rule of policy routing that is cut off")
	for _, in := range []string{"0200", "02000000ff00000100000000" + "06000a0007000000"} {
		_, err := beforeLocal(messages(t, []string{in}))
		m.AddError("109", err)
	}
	m.Section("a virtual server of IPVS that is not understood")
	for _, line := range badServers() {
		_, err := parseIPVS(strings.NewReader(ipvsHeading + line + "\n"))
		m.AddError("109", err)
	}
	m.Section("settings of links that nobody can read")
	_, err := anyLink("/nowhere", "forwarding")
	m.AddError("109", err)
	m.Check(*update)
}
