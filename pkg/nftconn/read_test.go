// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
)

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// toPort is a rule that begins with "th dport PORT", as the kernel sends it.
func toPort(port uint16) []byte {
	expr := func(name string, a nft.Attrs) nft.Attrs {
		return nft.Attrs{}.With(unix.NFTA_EXPR_NAME, append([]byte(name), 0)).With(unix.NFTA_EXPR_DATA|unix.NLA_F_NESTED, a)
	}
	load := nft.Attrs{}.With(unix.NFTA_PAYLOAD_DREG, number(1)).With(unix.NFTA_PAYLOAD_BASE, number(unix.NFT_PAYLOAD_TRANSPORT_HEADER)).
		With(unix.NFTA_PAYLOAD_OFFSET, number(2)).With(unix.NFTA_PAYLOAD_LEN, number(2))
	is := nft.Attrs{}.With(unix.NFTA_CMP_SREG, number(1)).With(unix.NFTA_CMP_OP, number(unix.NFT_CMP_EQ)).
		With(unix.NFTA_CMP_DATA|unix.NLA_F_NESTED, nft.Attrs{}.With(unix.NFTA_DATA_VALUE, binary.BigEndian.AppendUint16(nil, port)))
	list := nft.Attrs{}.With(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, expr("payload", load)).With(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, expr("cmp", is))
	return nft.Attrs{}.With(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, list)
}

// Rules for ports that nobody asked for are left out, and only those.
func TestElsewhere(t *testing.T) {
	m, r := toPort(30000), NewReader()
	if r.elsewhere(m) {
		t.Error("nobody asked for ports, and a rule is left out")
	}
	for asked, want := range map[uint16]bool{30000: false, 80: true} {
		r.Asked = func(port uint16) bool { return port == asked }
		if got := r.elsewhere(m); got != want {
			t.Errorf("asked for %d: elsewhere is %v", asked, got)
		}
	}
}
