// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

// What comes in by a link that is a listener's passes all mappings by, and is read back.
func TestLinks(t *testing.T) {
	at := netip.MustParseAddr("192.0.2.1")
	m := hostport.Mapping{Family: v4, HostIP: at, Proto: hostport.UDP, HostPort: 53, ContainerPort: 5353}
	wild := hostport.Mapping{Family: v4, Proto: hostport.UDP, HostPort: 53, ContainerPort: 5353}
	a := dualStack()
	a.Mappings, a.Flows = []hostport.Mapping{m, wild}, nil
	a.Carves = []hostport.Carve{{Addr: at, Proto: hostport.UDP, Port: 53, Link: "virbr0"}, {Addr: at, Proto: hostport.TCP, Port: 53, Link: "virbr0"}}
	k := newFake()
	k.put(t, v4, a, nil)
	l := k.layout(t, v4)
	rules := l.chains[dnatPrefix+a.Owner.Key()]
	if first := rules[0].String(); !strings.HasPrefix(first, "-d 192.0.2.1/32 -i virbr0 -p udp -m udp --dport 53 ") || !strings.HasSuffix(first, "-j RETURN") {
		t.Errorf("the first rule is %s", first)
	}
	if n := strings.Count(k.save(), "virbr0"); n != 1 {
		t.Errorf("%d rules name the link", n)
	}
	for _, c := range l.Claims() {
		if want := c.Mapping == m; want != slices.Equal(c.NotBy, []string{"virbr0"}) || !want && c.NotBy != nil {
			t.Errorf("claim %+v", c)
		}
	}
	if got, _ := l.Recover(a.Owner.Key()); !slices.Equal(got.Carves, a.Carves[:1]) {
		t.Errorf("recovered %+v", got.Carves)
	}
}
