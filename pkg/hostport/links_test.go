// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLinks(t *testing.T) {
	l := Links{"dummy0", "lb*", "l*"}
	for link, want := range map[string]bool{"dummy0": true, "dummy": false, "dummy01": false, "lb": true, "lb0": true, "lx": true, "kube-lb0": false, "lo": false, "": false} {
		if got := l.Has(link); got != want {
			t.Errorf("%q: got %t", link, got)
		}
	}
	for _, known := range Infrastructure() {
		if !Links(Infrastructure()).Has(known) || CheckLinks(known) != nil {
			t.Errorf("%q is not known", known)
		}
	}
	if names, all := l.Exact(); all || !cmp.Equal(names, []string{"dummy0"}) {
		t.Errorf("exact are %q, all of them: %t", names, all)
	}
	if names, all := l[:1].Exact(); !all || len(names) != 1 {
		t.Errorf("exact are %q, all of them: %t", names, all)
	}
}

func TestCheckLinks(t *testing.T) {
	for name, says := range map[string]string{
		"dummy0": "", "kube-lb*": "", "abcdefghijklmno": "", "abcdefghijklmno*": "", "a.b": "", `a"#`: "", "ä*": "", "lo*": "", "..*": "",
		"": "empty", "*": "every link", "**": "a * before its end", "a*b": "a * before its end", "*a": "a * before its end", "lo": "has 127.0.0.1",
		"abcdefghijklmnop": "longer", "abcdefghijklmnop*": "longer", "a/b": "no name", "a b": "no name", "a:b": "no name", "a\n": "no name", "a\x00": "no name", ".": "no name", "..": "no name",
	} {
		err := CheckLinks(name)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", name, err, says)
		}
	}
}

// Where the node answers for others, only what is known to be its own is reached.
func TestReach(t *testing.T) {
	local := func(p, link string) Local { return Local{Prefix: netip.MustParsePrefix(p), Infrastructure: link} }
	all := []Local{local("127.0.0.0/8", ""), local("192.0.2.1/32", ""), local("192.0.2.2/32", ""), local("198.51.100.0/24", ""), local("198.51.100.7/32", IPVSLink), local("10.96.0.1/32", "lb0"),
		local("::1/128", ""), local("2001:db8::1/128", ""), local("fe80::1/128", ""), local("fd00::1/128", "lb0")}
	for _, tt := range []struct {
		f      Family
		others bool
		want   string
	}{
		{IPv4, false, "0.0.0.0-255.255.255.255"},
		{IPv6, false, "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{IPv4, true, "127.0.0.0-127.255.255.255,192.0.2.1-192.0.2.2,198.51.100.0-198.51.100.6,198.51.100.8-198.51.100.255"},
		{IPv6, true, "::1,2001:db8::1"},
	} {
		if got := Reach(all, tt.f, tt.others).String(); got != tt.want {
			t.Errorf("%s with others %t: got %s, want %s", tt.f, tt.others, got, tt.want)
		}
	}
}
