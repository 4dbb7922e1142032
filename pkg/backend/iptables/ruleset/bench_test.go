// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

// thousand is what iptables-save prints with 1,000 attachments.
func thousand(b *testing.B) (text string, all []hostport.Attachment) {
	b.Helper()
	k := foreign()
	have := k.layout(b, v4)
	l := have
	for i := range 1000 {
		a := simple(fmt.Sprintf("%064d", i), "cni0", uint16(20000+i))
		a.Pods = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(2 + i%250)}), 16)}
		all, l = append(all, a), l.Put(nil, a)
	}
	k.apply(b, Diff(have, l))
	return k.save(), all
}

// One ADD beside 1,000 attachments.
func BenchmarkAdd(b *testing.B) {
	text, _ := thousand(b)
	next := simple("next", "cni0", 80)
	next.Pods = []netip.Prefix{netip.MustParsePrefix("10.1.200.2/16")}
	for b.Loop() {
		have, err := parse(text, v4)
		if err != nil {
			b.Fatal(err)
		}
		if n := len(have.Claims()); n != 1000 {
			b.Fatalf("%d claims", n)
		}
		if Diff(have, have.Put(nil, next)) == "" {
			b.Fatal("nothing changes")
		}
	}
}

// The check of all of 1,000 attachments, which each change makes.
func BenchmarkCheck(b *testing.B) {
	text, all := thousand(b)
	for b.Loop() {
		have, err := parse(text, v4)
		if err != nil {
			b.Fatal(err)
		}
		for _, a := range all {
			if lost := have.Check(a, nil); len(lost) > 0 {
				b.Fatal(lost)
			}
		}
	}
}
