// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestGenerateReaches makes sure that the oracle asks about everything it is
// there for: a generator that stops drawing something fails nowhere else.
func TestGenerateReaches(t *testing.T) {
	var all strings.Builder
	for seed := uint64(1); seed <= 4000; seed++ {
		for _, s := range Generate(seed, true) {
			if s.Table != nil {
				all.WriteString(s.Script())
			}
		}
	}
	text := all.String()
	want := []string{
		"table ip t0", "table ip6 t0", "table inet t0", "table ip t1", "policy drop",
		"meta l4proto tcp", "meta l4proto { tcp, udp }", "meta l4proto != udp", "ip protocol tcp", "ip6 nexthdr udp",
		"tcp dport 8080", "tcp dport != 8080", "udp dport 8080", "udp dport != 8000-8080", "th dport 8080", "th dport 0-65535",
		"th dport { 8080", "th dport != { 8080", "tcp dport { 8000-8090", "th dport @s", "th dport != @s",
		"set s0 { type inet_service; elements", "set s0 { type inet_service; flags interval;",
		"ip daddr 192.0.2.1", "ip daddr != 192.0.2.1", "ip daddr 127.0.0.0/8", "ip saddr != 192.0.2.0/24", "ip daddr 198.51.100.1-",
		"ip daddr { ", "ip saddr @s", "ip daddr & 255.255.255.0 != ", "ip6 daddr 2001:db8:2::1", "ip6 saddr != fd00::/8", "ip6 daddr @s", "ip6 daddr != { ",
		"ip daddr . meta l4proto . th dport @s", "ip6 daddr . meta l4proto . th dport != @s", "ip daddr . meta l4proto . th dport { ",
		"{ type ipv4_addr . inet_proto . inet_service; flags interval; elements = { 192.0.2.0/24 . tcp . 8000-8090",
		"{ type inet_proto . inet_service; elements", "{ type ipv6_addr . inet_service; ",
		"fib daddr type local", "fib daddr type != local", "fib daddr type { local, broadcast }", "fib saddr type unicast", "fib daddr . iif type local",
		`iifname "eth*"`, `iifname != "eth0"`, `oifname "lo"`, `iifname { "eth*", "lo" }`, "iif lo",
		"meta mark 1", "meta mark & 0x1 != 0x1", "meta mark { 1, 2 }", "meta mark 0-4", "ct state new", "ct state != new", "ct state { new",
		"meta nfproto ipv4", "meta nfproto ipv6",
		"dnat to 203.0.113.9\n", "dnat to 203.0.113.9:9999", "dnat to :9999", "dnat ip to 203.0.113.9:9999", "dnat ip6 to [2001:db8:9::9]:9999", "9999-10010", "9999 random",
		"dnat to ip daddr map @m", "dnat ip to meta l4proto . th dport map @m", "dnat ip6 to meta l4proto . th dport map @m", "map { 8080 : 203.0.113.9 . 9999",
		"{ type inet_proto . inet_service : ipv4_addr . inet_service; ", "{ type inet_proto . inet_service : ipv4_addr; ", "{ type ipv6_addr : ipv6_addr",
		"redirect to :9998", " accept\n", " drop\n", " return\n", " jump c1", " goto c1", "meta mark set 0x1", "meta mark set meta mark or", "counter\n", "counter dnat",
		"th dport vmap { ", "th dport vmap @m", "meta l4proto . th dport vmap { tcp . 8080 : ", "ip daddr . meta l4proto . th dport vmap @m", "ip daddr . meta l4proto . th dport vmap { ",
		"{ type ipv4_addr . inet_proto . inet_service : verdict; flags interval; ", "{ type inet_service : verdict; elements",
		"flags dormant", "}\nadd table inet t0\n", "meta l4proto udp meta mark 0x1 redirect to :9998", "meta l4proto tcp ct mark 0x1 tcp dport set 9997", "meta l4proto tcp drop",
		"type filter hook prerouting priority -310;", "type filter hook prerouting priority -90;", "type filter hook output", "type route hook output", "type filter hook input",
		"meta mark set ct mark", "ct mark set meta mark", "ct mark set 0x1", "meta mark vmap { 0x1 : ", "notrack\n", "dport set 9997", "daddr set 203.0.113.9", "daddr set 2001:db8:9::9",
		"ct mark & 0x1 == 0x1", "ct mark != 1", "ct status assured", "ct status != confirmed", "numgen random mod 2 map { 0 : 203.0.113.9 }", "jhash ip saddr mod 2 map { 0 : 203.0.113.9, 1 :",
		"@nh,144,16 0x0201", "@nh,128,8 != 0x", "@nh,128,16 { 0xc000", "@nh,96,16", "@nh,128,24", "@nh,208,64", "@nh,200,40", "@th,16,8 0x1f", "@th,24,8", " . tcp dport { 0x", " vmap { 0x",
		"meta mark set meta mark xor 0x3", "meta mark set meta mark and 0xfffffffc xor 0x2", "tcp meta mark & 0x3 == 0x2 dnat", "ct mark set ct mark or 0x2", "ct mark 0x1 udp dport set 9997", "mod 2 vmap { 0 : return, 1 : accept }", "iif != lo dnat", "jump x2", "meta mark set th dport map {", "ct mark set ip daddr map {",
		"ct status dnat drop", "ip daddr 203.0.113.200 drop", "ip6 daddr 2001:db8:9::200 drop", "tcp dport 7777 drop", "ct original proto-dst 8080 drop", "fib daddr type != local drop", "dport 8080 meta mark set 0x7", "ct mark 0x7 drop",
		"ct direction reply ct mark set 0x1", "ct state related ct mark set", "type filter hook postrouting", "tcp ct mark and 0x1 == 0x1 tcp dport set 9997",
		"@th,16,16 set 9997", "@nh,176,16 set 9997", "@nh,336,16 set 9997", "@ll,288,16 set 9997", "@ll,448,16 set 9997", "ip dscp set cs2", "ip saddr set", " . @th,16,8 {", "meta length 0-90", "ct original bytes > 90",
		"ip ttl > 0", "ip ttl { 1-127, 128-255 }", "ip6 hoplimit 1-255", "ip version 4", "ip6 version != 6", "ip length >= 28", "ip6 length < 8", "meta length != 0", "ct zone 0", "tcp doff >= 5", "udp length < 8", "ip hdrlength >= 5",
		"meta mark set numgen random mod 2 offset 1", "meta mark set jhash ip6 saddr mod 2", "meta mark set meta mark << 1", "meta mark & 0x1 == 0x1 dnat", ", 5 : return",
		"ip dscp set 0x08", "ip dscp != 0x08 redirect", "ip6 hoplimit set 77", "ip6 hoplimit 78 redirect", "meta priority set 0x10002", "meta priority 0x30004 redirect", "ct label set 5", "ct label 77 redirect",
		"ip saddr @kaff0 goto KSEP0", "ip6 saddr @kaff2 goto KSEP2", "update @kaff1 { ip saddr }", "tcp . 8080 : goto KEXT", "udp . 30080 : goto KEXT", "vmap @kports", "numgen random mod 3 vmap { 0 : goto KSEP0",
		" : jump c", " : goto c", " : accept", " : drop", " : return", " : continue", "inet_service; }", "verdict; }",
	}
	for _, p := range priorities() {
		for _, h := range []string{"prerouting", "output"} {
			want = append(want, fmt.Sprintf("type nat hook %s priority %d;", h, p))
		}
	}
	for _, s := range want {
		if !strings.Contains(text, s) {
			t.Errorf("4,000 seeds and no %q", s)
		}
	}
}

// TestGenerateTables does the same for the tables of iptables.
func TestGenerateTables(t *testing.T) {
	var all strings.Builder
	for seed := uint64(1); seed <= 2000; seed++ {
		for _, s := range Generate(seed, false) {
			all.WriteString(s.Script())
		}
	}
	for _, s := range []string{
		"*raw\n", "*mangle\n", "-j DSCP --set-dscp 0x08", "-m dscp ! --dscp 0x08 -j REDIRECT", "-j TOS --or-tos 0x20", "-m tos --tos 0x20/0x20 -j REDIRECT", "-j TTL --ttl-set 77", "-m hl --hl-eq 77 -j REDIRECT",
		"CT --notrack", "MARK --set-xmark 0x2/0xffffffff", "CONNMARK --set-xmark", "CONNMARK --restore-mark --nfmask", "CONNMARK --save-mark", "-j DROP",
		"-m connmark ! --mark", "! --ctstatus ASSURED", "CT --ctevents new", "HMARK --hmark-tuple", "! --cluster-local-node", "--dst-type LOCAL,ANYCAST", "-m length", "-m policy --dir in", "-m connbytes", "-m u32", "-m multiport ! --dports",
		"--match-set ADDR4 src", "! --match-set NET4 dst", "NETPORT4 src,dst", "BITS dst", "THREE4 src,dst,dst", "AND6 dst,dst,src", "FACE4 dst,src", "PAIRS4 dst,dst", "BUT4 src", "OTHER dst", "--connbytes 91:", "4>>16=0:60", "! --length 0:90", "--length 0:65535", "--length 48:65535", "! --length 0:7", "--ttl-gt 0", "! --ttl-eq 0", "--hl-lt 1", "--match-set LIST4 dst", "--match-set FROM4 src", "--match-set PAIR6 dst,dst", "--match-set PAIR4 src,dst", "--match-set PORT dst",
		"--dst-type LOCAL -p tcp -m tcp --dport 8080 -j KEXT", "-d 10.96.0.1 -p udp -m udp --dport 8081 -j KEXT", "-m recent --rcheck --seconds 10800 --reap --name KSEP2", "-m recent --set --name KSEP0",
	} {
		if !strings.Contains(all.String(), s) {
			t.Errorf("2,000 seeds and no %q", s)
		}
	}
}

// TestGenerateMixtures looks for both orders of every pair, and for sets that
// iptables-nft would take for its own.
func TestGenerateMixtures(t *testing.T) {
	seen := map[string]bool{}
	own := regexp.MustCompile(`table \S+ (nat|filter|mangle|raw|security) `)
	for seed := uint64(1); seed <= 500; seed++ {
		var kinds []string
		for _, s := range Generate(seed, true) {
			kinds = append(kinds, s.Flavour)
			if s.Table != nil && own.MatchString(s.Script()) {
				t.Errorf("seed %d: %s", seed, s.Script())
			}
		}
		seen[strings.Join(kinds, "+")] = true
		for _, s := range Generate(seed, false) {
			if s.Table != nil {
				t.Errorf("seed %d: a native set without native", seed)
			}
		}
	}
	want := []string{"legacy", "legacy+native", "legacy+nft", "native", "native+legacy", "native+native", "native+nft", "nft", "nft+legacy", "nft+native"}
	for _, s := range want {
		if !seen[s] {
			t.Errorf("no %s", s)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d mixtures, want %d: %v", len(seen), len(want), seen)
	}
}
