// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

func TestOptions(t *testing.T) {
	narrow := func(n int) []hostport.Attachment {
		var out []hostport.Attachment
		for i := range n {
			out = append(out, web(fmt.Sprintf("p%d", i), func(a *hostport.Attachment) {
				a.Pods = []netip.Prefix{prefix(fmt.Sprintf("10.244.0.%d/32", i+1))}
				a.Mappings = []hostport.Mapping{on(v4, "", tcp, uint16(8000+i), 80)}
			}))
		}
		return out
	}
	for name, tt := range map[string]struct {
		pods []hostport.Attachment
		want []string
	}{
		"nothing":         {},
		"wildcard":        {[]hostport.Attachment{web("a")}, []string{"near 10.88.0.0/16", "near fd00:88::/64"}},
		"without SNAT":    {[]hostport.Attachment{web("a", func(a *hostport.Attachment) { a.SNAT = false })}, nil},
		"one address":     {[]hostport.Attachment{web("a", ports(on(v4, "192.0.2.1", tcp, 80, 80)))}, []string{"addresses4", "near 10.88.0.0/16"}},
		"masqAll":         {[]hostport.Attachment{web("a", ports(on(v4, "", tcp, 80, 80)), func(a *hostport.Attachment) { a.MasqAll = true })}, []string{"near 0.0.0.0/0"}},
		"a few networks":  {narrow(4), []string{"near 10.244.0.1/32", "near 10.244.0.2/32", "near 10.244.0.3/32", "near 10.244.0.4/32"}},
		"many networks":   {narrow(7), []string{"near 0.0.0.0/0"}},
		"a wider network": {append(narrow(2), web("w", ports(on(v4, "", tcp, 80, 80)), func(a *hostport.Attachment) { a.Pods = []netip.Prefix{prefix("10.244.3.1/16")} })), []string{"near 10.244.0.0/16"}},
	} {
		t.Run(name, func(t *testing.T) {
			table := Absent()
			for _, a := range tt.pods {
				table = table.Put(a, false)
			}
			if diff := cmp.Diff(tt.want, slices.Sorted(maps.Keys(table.options))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, a := range tt.pods {
				if lost := table.Check(a); len(lost) > 0 {
					t.Errorf("%s lacks %q", a.Owner, lost)
				}
				table = table.Remove(a.Owner.Key())
			}
			if len(table.options) > 0 || table.There {
				t.Errorf("left: %v", table.options)
			}
		})
	}
}

// Who has not read the whole table takes no rule away, and makes what it needs.
func TestOptionsOfAPart(t *testing.T) {
	part := Absent().Put(web("a", ports(on(v4, "192.0.2.1", tcp, 80, 80))), false)
	part.Whole = false
	part.elements = map[string]Element{}
	after := part.Put(web("b", func(a *hostport.Attachment) { a.Excludes = []netip.Prefix{prefix("192.0.2.9/32")} }), false)
	want := []string{"addresses4", "near 10.88.0.0/16", "near fd00:88::/64", "spared4"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(after.options))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(part.options) != 2 {
		t.Errorf("the table before has changed: %v", part.options)
	}
}

// What a comment asks for is not trusted: rules that are not as they must be are made
// anew.
func TestStrangeOptions(t *testing.T) {
	o := options{"near nonsense": true, "nothing": true, "near 10.0.0.0/8": true}
	var said []string
	for _, list := range rules(o) {
		for _, r := range list {
			if name := optionOf(r); name != "" {
				said = append(said, name)
			}
		}
	}
	if diff := cmp.Diff([]string{"near 10.0.0.0/8"}, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text := strings.Join(ruleTexts(o)["postrouting"], "\n"); strings.Contains(text, "nonsense") {
		t.Error(text)
	}
}
