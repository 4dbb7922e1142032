// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A translated packet at FORWARD is for the pod, in state DNAT and leaves by the pod's link,
// and what it was before is known. Its answer goes the other way.
func TestForward(t *testing.T) {
	pod, client, was := netip.MustParseAddr("10.88.0.2"), netip.MustParseAddr("203.0.113.9"), netip.MustParseAddrPort("192.0.2.1:8080")
	eth0, cni0 := Link{Name: "eth0", Index: 2}, Link{Name: "cni0", Index: 3}
	there := Packet{Hook: Forward, Proto: hostport.TCP, Port: was.Port(), Dst: addrset.Between(was.Addr(), was.Addr()), Src: addrset.Between(client, client), Moved: true, To: netip.AddrPortFrom(pod, 80), In: eth0, Out: cni0}
	back := there
	back.In, back.Out, back.Answer = cni0, eth0, true
	for rule, want := range map[string][2]string{
		"-d 10.88.0.2/32 -j DROP":                                {"ends", "passes"},
		"-d 10.88.0.3/32 -j DROP":                                {"passes", "passes"},
		"-p tcp -m tcp --dport 80 -j DROP":                       {"ends", "may end"},
		"-p tcp -m tcp --sport 80 -j DROP":                       {"may end", "ends"},
		"-p tcp -m tcp --dport 8080 -j DROP":                     {"passes", "may end"},
		"-p tcp -m tcp --tcp-flags SYN,ACK SYN -j DROP":          {"ends", "may end"},
		"-o cni0 -j DROP":                                        {"ends", "passes"},
		"-o docker0 -j DROP":                                     {"passes", "passes"},
		"-i eth0 -j DROP":                                        {"ends", "passes"},
		"-i docker0 -j ACCEPT":                                   {"passes", "passes"},
		"-s 192.0.2.0/24 -j DROP":                                {"passes", "passes"},
		"-s 203.0.113.0/24 -j DROP":                              {"ends", "passes"},
		"-m addrtype --dst-type LOCAL -j DROP":                   {"passes", "passes"},
		"-m conntrack --ctstate DNAT -j ACCEPT":                  {"ends", "ends"},
		"-m conntrack --ctstate NEW -j ACCEPT":                   {"ends", "passes"},
		"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT":   {"passes", "ends"},
		"-m conntrack --ctorigdstport 8080 -j ACCEPT":            {"ends", "ends"},
		"-m conntrack --ctorigdstport 80 -j ACCEPT":              {"passes", "passes"},
		"-m conntrack --ctorigdst 192.0.2.1 -j ACCEPT":           {"ends", "ends"},
		"-m conntrack ! --ctorigdst 192.0.2.1/32 -j ACCEPT":      {"passes", "passes"},
		"-m conntrack --ctdir REPLY -j ACCEPT":                   {"passes", "ends"},
		"-m conntrack --ctstatus SEEN_REPLY -j ACCEPT":           {"passes", "may end"},
		"-m mark --mark 0x4000/0x4000 -j ACCEPT":                 {"passes", "passes"},
		"-m conntrack --ctstate INVALID -j DROP":                 {"passes", "passes"},
		"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j X": {"passes", "passes"},
	} {
		for i, p := range []Packet{there, back} {
			filter := parsed(t, hostport.IPv4, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD "+strings.Replace(rule, "-j X", "-j DROP", 1)+"\nCOMMIT\n")
			r, err := New(filter, nft.Table{Family: nft.IPv4, Name: "filter"}, hostport.IPv4, Options{}).Walk("FORWARD", p)
			if err != nil {
				t.Fatal(err)
			}
			if got := ending(r); got != want[i] {
				t.Errorf("%s: it %s, want %s (answer: %v)", rule, got, want[i], p.Answer)
			}
		}
	}
}

// ending says what becomes of the packets that are to be expected.
func ending(r Result) string {
	ends := slices.DeleteFunc(slices.Clone(r.End), func(p Path) bool { return p.Doubtful })
	switch {
	case len(ends) == 1 && ends[0].Match == Yes:
		return "ends"
	case len(ends) == 1:
		return "may end"
	}
	return "passes"
}
