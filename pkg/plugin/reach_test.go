// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

// What a network excludes counts for the node, as long as a record of one of its pods is
// there.
func TestExcludedInterfaces(t *testing.T) {
	b := newBench(t)
	one, two, three := b.pod("one"), b.pod("two"), b.pod("three")
	b.mustAdd(one, 80, `,"excludeInterfaces":["lb*","vips"]`)
	b.mustAdd(two, 81, "")
	b.mustAdd(three, 82, `,"excludeInterfaces":["vips","dummy7"]`)
	asked := func(what string, want ...string) {
		t.Helper()
		if d := cmp.Diff(hostport.Links(want), b.node.also); d != "" {
			t.Errorf("%s (-want +got)\n%s", what, d)
		}
	}
	asked("the third ADD", "dummy7", "lb*", "vips")
	b.mustAdd(three, 82, "")
	asked("an ADD that excludes less", "lb*", "vips")
	if err := b.Del(two.tell(argsOf(`{"name":"net","dataDir":"` + b.dataDir + `"}`))); err != nil {
		t.Error(err)
	}
	asked("DEL of another", "lb*", "vips")
	if err := b.Del(one.tell(argsOf(`{"name":"net","dataDir":"` + b.dataDir + `"}`))); err != nil {
		t.Error(err)
	}
	asked("DEL of who excludes")
}

// Where mappings may be follows the links of the node, but for those that an ipset follows.
func TestWithin(t *testing.T) {
	b := newBench(t)
	b.node.on.Local = append(b.node.on.Local, hostport.Local{Prefix: netip.MustParsePrefix("10.96.0.1/32"), Infrastructure: hostport.IPVSLink})
	for _, tt := range []struct {
		links    []string
		followed []hostport.Family
		want     string
	}{
		{nil, nil, "0.0.0.0-255.255.255.255"},
		{[]string{hostport.IPVSLink}, nil, "127.0.0.0-127.255.255.255,192.0.2.1"},
		{[]string{hostport.IPVSLink}, []hostport.Family{hostport.IPv6}, "127.0.0.0-127.255.255.255,192.0.2.1"},
		{[]string{hostport.IPVSLink}, []hostport.Family{hostport.IPv4}, "0.0.0.0-255.255.255.255"},
		{[]string{hostport.IPVSLink, "vips"}, []hostport.Family{hostport.IPv4}, "127.0.0.0-127.255.255.255,192.0.2.1"},
	} {
		b.node.on.Infrastructure, b.node.facts.Followed = tt.links, tt.followed
		s, err := b.Begin(b.store, 1e9, hostport.Attachment{})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.within()[hostport.IPv4].String(); got != tt.want {
			t.Errorf("%v followed in %v: got %s, want %s", tt.links, tt.followed, got, tt.want)
		}
	}
}
