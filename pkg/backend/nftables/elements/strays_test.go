// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nfttable"
)

// What somebody else puts into the sets that only go with mappings keeps packets from a pod:
// CHECK says so, and the next change takes it away.
func TestStrays(t *testing.T) {
	port := func(p hostport.Proto, n uint16) string {
		return string(nfttable.Join(nfttable.ProtoKey(p), nfttable.PortKey(n)))
	}
	ip, peer := string(addr("192.0.2.1").AsSlice()), string(addr("192.0.2.2").AsSlice())
	pair := ip + string(nfttable.PortKey(8080)) + peer + string(nfttable.PortKey(53))
	eth0 := string(nfttable.LinkKey("eth0"))
	all, one := web("web"), web("web", ports(on(v4, "192.0.2.1", tcp, 8080, 80)))
	datagrams := web("web", ports(on(v4, "", udp, 8080, 80)))
	for _, tt := range []struct {
		says string
		a    hostport.Attachment
		e    nfttable.Element
		kept string
	}{
		{"an address", all, nfttable.Element{Set: "spared4", From: port(tcp, 8080) + ip}, "set spared4 has an element of no pod: "},
		{"many ports", all, nfttable.Element{Set: "spared4", From: port(tcp, 8000) + ip, To: port(tcp, 9000) + peer}, "set spared4 has an element of no pod: "},
		{"another port", all, nfttable.Element{Set: "spared4", From: port(tcp, 8081) + ip}, ""},
		{"another protocol", all, nfttable.Element{Set: "spared4", From: port(udp, 8080) + ip}, ""},
		{"the other family", one, nfttable.Element{Set: "spared6", From: port(tcp, 8080) + string(addr("2001:db8::1").AsSlice())}, ""},
		{"a flow", datagrams, nfttable.Element{Set: "connected4", From: pair}, "set connected4 has an element of no pod: "},
		{"a flow beside TCP", all, nfttable.Element{Set: "connected4", From: pair}, ""},
		{"a link", one, nfttable.Element{Set: "bylink4", From: eth0 + ip + port(tcp, 8080)}, "set bylink4 has an element of no pod: "},
		{"a link, which a wildcard does not ask for", all, nfttable.Element{Set: "bylink4", From: eth0 + ip + port(tcp, 8080)}, ""},
		{"masquerading", all, nfttable.Element{Set: "masquerade4", From: ip + port(tcp, 8080)}, ""},
	} {
		whole := absent().With(tt.a).(*State)
		s := &State{Table: table(whole).With([]nfttable.Element{tt.e})}
		lost := strings.Join(s.Missing(tt.a), "; ")
		if (tt.kept == "") != (lost == "") || !strings.Contains(lost, tt.kept) || s.Whole(tt.a) != (lost == "") {
			t.Errorf("%s: missing %q, whole %t", tt.says, lost, s.Whole(tt.a))
		}
		if !plan(whole, s.With(tt.a)).Empty() {
			t.Errorf("%s: it stays with the pod", tt.says)
		}
		if gone := table(s.Without(tt.a.Owner.Key())); gone.There && len(gone.Elements(func(nfttable.Element) bool { return true })) > 0 {
			t.Errorf("%s: it stays when the pod goes", tt.says)
		}
	}
	// What an owner has, a shared element, and what leads somewhere are no strays.
	for _, e := range []nfttable.Element{
		{Set: "spared4", Comment: "portguard net web eth0"}, {Set: "own4"}, {Set: "neighbours4", Comment: "portguard: neighbours"}, {Set: "ports4"}, {Set: "conditions4"}, {Set: "addresses6"},
	} {
		if stray(e) {
			t.Errorf("%+v is a stray", e)
		}
	}
}
