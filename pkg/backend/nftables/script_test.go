// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/nftables/elements"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
)

// nft reads what it prints of us, whatever interfaces are called, and it is the same.
func TestOddNames(t *testing.T) {
	need.Netns(t)
	b := New(nftconn.Open(), hostport.Everywhere())
	for i, name := range []string{`";monitor#`, `eth0"#`, `x\`, "'", "*", "a b", "\x01\x1b[2J", "\xff", "%41"} {
		a := pod("web", uint16(8080+i), byte(5+i), map[bool]string{true: "192.0.2.2"}[i%2 == 0])
		a.Owner.IfName = name
		if err := apply(b, func(s backend.State) backend.State { return s.With(a) }); err != nil {
			t.Fatal(err)
		}
		s, err := b.Load()
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Recover(a.Owner.Key()); !ok || got.Owner != a.Owner || len(s.Missing(a)) > 0 {
			t.Errorf("%q is known as %+v and lacks %q", name, got.Owner, s.Missing(a))
		}
	}
	was := picture(t)
	out, err := exec.Command("sh", "-c", "(echo flush ruleset; nft list ruleset) | nft -f -").CombinedOutput()
	if err != nil || len(out) > 0 || picture(t) != was {
		t.Errorf("%v %s\nwas\n%s\nis\n%s", err, out, was, picture(t))
	}
}

// Whatever a configuration may have as a condition, the real nft either refuses it, and
// all is as it was, or makes only matches of it; it does nothing else. What gets past the
// configuration and is no match is undone by what the kernel says of it.
func FuzzConditions(f *testing.F) {
	need.Root(f)
	for _, s := range []string{
		"ip saddr 192.0.2.2", "ip saddr { 192.0.2.2, 192.0.2.3 }", `iifname "eth0"`, `iifname "drop;#\"`, `iifname "*"`, "@th,0,16 8080", "ct state new limit rate 1/second",
		"ip saddr map { 192.0.2.1 : 1 } == 1", `ip saddr . tcp sport { 192.0.2.2 . 80 }`, "meta mark and 1 == 1", `counter log prefix "a;b" counter`, "fib saddr type local", "socket wildcard 0",
		`iifname "eth0`, `" accept "`, "tcp sport 1accept", "tcp sport 1snat", "ip saddr 192.0.2.2 }", "} ; flush ruleset", "ip saddr $x", `include "/etc/passwd"`, "monitor", "ip saddr 192.0.2.2\\", "or 1",
		"tcp sport 1meter m { ip saddr limit rate 1/second }", "tcp sport 1add @spared4 { ip saddr }", "tcp sport 1synproxy mss 1460", "tcp sport 0x8queue", "meta nftrace 1", "reset tcp option sack-perm", "tcp option maxseg size 1400", "ct mark 1", "quota over 5 bytes",
		"tcp sport 1 ip dnat to 10.0.0.1:1", "\x01", "\xff", "é",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		conf, _ := json.Marshal(map[string][]string{"conditionsV4": {s}})
		c, err := netconf.Parse(conf)
		if err != nil || c.Syntax != Name {
			return
		}
		need.Netns(t)
		a, b := pod("web", 8080, 5, ""), New(nftconn.Open(), hostport.Everywhere())
		a.ConditionsV4 = c.Template.ConditionsV4
		before := pod("before", 80, 6, "")
		if err := apply(b, func(s backend.State) backend.State { return s.With(before) }); err != nil {
			t.Fatal(err)
		}
		was := picture(t)
		err = apply(b, func(s backend.State) backend.State { return s.With(a) })
		if err != nil {
			if now := picture(t); now != was || strings.Contains(err.Error(), "(killed;") {
				t.Errorf("%q: %v\nwas\n%s\nis\n%s", s, err, was, now)
			}
			return
		}
		have, err := b.Load()
		if err != nil {
			t.Fatal(err)
		}
		if lost := append(append(have.Missing(a), have.Missing(before)...), have.(*elements.State).Misplaced()...); len(lost) > 0 {
			t.Errorf("%q: lost %q", s, lost)
		}
		if err := apply(b, func(s backend.State) backend.State { return s.Without(a.Owner.Key()) }); err != nil || picture(t) != was {
			t.Errorf("%q: %v\nwas\n%s\nleft\n%s", s, err, was, picture(t))
		}
		if sets, err := nftconn.NewReader().Sets(elements.Table()); err != nil || len(sets) != len(elements.Spec().Sets) {
			t.Errorf("%q: %d sets are left of %d, %v", s, len(sets), len(elements.Spec().Sets), err)
		}
	})
}
