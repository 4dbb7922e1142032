// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// names are what nft calls the parts of keys.
func (k keyType) String() string {
	return map[keyType]string{addr4: "ipv4_addr", addr6: "ipv6_addr", proto: "inet_proto", service: "inet_service", ifname: "ifname"}[k]
}

// ruleTexts are the rules of the shared chains as nft prints them; rules has
// them as the kernel does.
func ruleTexts(o options) map[string][]string {
	asked := func(option, text string) []string {
		if !o[option] {
			return nil
		}
		return []string{fmt.Sprintf("%s comment %q", text, optionComment+option)}
	}
	conditional := func(f, ip string) string { return ip + " daddr . meta l4proto . th dport vmap @conditions" + f }
	specific := func(f, ip string) string {
		return "dnat " + ip + " to " + ip + " daddr . meta l4proto . th dport map @addresses" + f
	}
	return map[string][]string{
		"hostports4": slices.Concat(asked("conditions4", conditional("4", "ip")), asked("addresses4", specific("4", "ip")),
			asked("spared4", "meta l4proto . th dport . ip daddr @spared4 return"),
			[]string{"dnat ip to meta l4proto . th dport map @ports4"}),
		"hostports6": slices.Concat(asked("conditions6", conditional("6", "ip6")), asked("addresses6", specific("6", "ip6")),
			[]string{"ip6 daddr fe00::/8 ip6 daddr fe80::/10 return"},
			asked("spared6", "meta l4proto . th dport . ip6 daddr @spared6 return"),
			[]string{"dnat ip6 to meta l4proto . th dport map @ports6"}),
		"loopback4": {conditional("4", "ip"), specific("4", "ip"),
			"ip daddr 127.0.0.1 dnat ip to meta l4proto . th dport map @localhost"},
		"masquerading": masqueradingTexts(),
		"prerouting": {"type nat hook prerouting priority dstnat + 5; policy accept;",
			"ip daddr != 127.0.0.0/8 fib daddr type local jump hostports4", "ip6 daddr != ::1 fib daddr type local jump hostports6"},
		"output": {"type nat hook output priority -95; policy accept;", "ip daddr 127.0.0.0/8 goto loopback4",
			"meta nfproto ipv4 fib daddr type local jump hostports4", "ip6 daddr != ::1 fib daddr type local jump hostports6"},
		"postrouting": append([]string{"type nat hook postrouting priority srcnat - 10; policy accept;"}, postroutingTexts(o)...),
		"gate": {"type nat hook prerouting priority -199; policy accept;",
			"ip daddr 127.0.0.0/8 iifname @guarded drop", "ip saddr 127.0.0.0/8 iifname @guarded drop"},
		"guard": {"type filter hook input priority mangle; policy accept;", "ip saddr 127.0.0.0/8 iifname @guarded drop",
			"ip daddr 127.0.0.0/8 ct status dnat return", "ip daddr 127.0.0.0/8 iifname @guarded drop"},
	}
}

func postroutingTexts(o options) []string {
	out := []string{"ip saddr 127.0.0.0/8 ct status dnat jump masquerading"}
	for _, f := range hostport.Families() {
		for _, p := range o.nears(f) {
			from := map[hostport.Family]string{hostport.IPv4: "ip", hostport.IPv6: "ip6"}[f] + " saddr " + p.String()
			switch {
			case p.Bits() == 0:
				from = "meta nfproto " + nfproto(f)
			case p.IsSingleIP():
				from = strings.TrimSuffix(from, fmt.Sprintf("/%d", p.Bits()))
			}
			out = append(out, fmt.Sprintf("%s ct status dnat jump masquerading comment %q", from, optionComment+near+p.String()))
		}
	}
	return out
}

func masqueradingTexts() []string {
	var out []string
	for _, p := range []string{"tcp", "udp", "sctp"} {
		proto := "meta l4proto " + p + " "
		out = append(out,
			proto+"ip daddr . meta l4proto . ct original proto-dst @masquerade4 ct original ip daddr . ip saddr . ip daddr @neighbours4 masquerade",
			proto+"ip6 daddr . meta l4proto . ct original proto-dst @masquerade6 ct original ip6 daddr . ip6 saddr . ip6 daddr @neighbours6 masquerade",
			proto+"ip saddr 127.0.0.0/8 oifname . ct original ip daddr . ip daddr . meta l4proto . ct original proto-dst @links masquerade")
	}
	return out
}

// Text is the table as "nft list table" prints it, "" if there is none. Of
// chains with conditions it has only what this process made.
func (t *Table) Text() string {
	if !t.There {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table %s {\n", Name())
	for _, s := range sets() {
		b.WriteString(t.setText(s))
	}
	texts := ruleTexts(t.options)
	for _, c := range chains() {
		writeChain(&b, c.Name, texts[c.Name])
	}
	for _, name := range slices.Sorted(maps.Keys(t.chains)) {
		writeChain(&b, name, t.chains[name].Rules)
	}
	return strings.TrimSuffix(b.String(), "\n") + "}\n"
}

func writeChain(b *strings.Builder, name string, rules []string) {
	fmt.Fprintf(b, "\tchain %s {\n", name)
	for _, r := range rules {
		fmt.Fprintf(b, "\t\t%s\n", r)
	}
	b.WriteString("\t}\n\n")
}

func (t *Table) setText(s setSpec) string {
	var b strings.Builder
	kind, typ := "set", typeText(s.key)
	switch {
	case s.verdicts:
		kind, typ = "map", typ+" : verdict"
	case s.isMap():
		kind, typ = "map", typ+" : "+typeText(s.value)
	}
	fmt.Fprintf(&b, "\t%s %s {\n\t\ttype %s\n", kind, s.name, typ)
	if s.interval {
		b.WriteString("\t\tflags interval\n")
	}
	if s.isMap() {
		b.WriteString("\t\tcounter\n")
	}
	var elems []string
	for _, e := range t.sorted() {
		if e.Set == s.name {
			elems = append(elems, e.String())
		}
	}
	if len(elems) > 0 {
		fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(elems, ",\n\t\t\t     "))
	}
	b.WriteString("\t}\n\n")
	return b.String()
}

func typeText(types []keyType) string {
	words := make([]string, 0, len(types))
	for _, k := range types {
		words = append(words, k.String())
	}
	return strings.Join(words, " . ")
}
