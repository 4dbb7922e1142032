// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A Rule is one rule of a generated set, as text for its loader. The table of iptables is
// nat if none is named.
type Rule struct {
	Table, Chain string
	Text         string
}

// A Set is one generated set of rules.
type Set struct {
	Flavour string // "nft" or "legacy", which are iptables', or "native"
	V6      bool
	Chains  []string
	Rules   []Rule
	// Table is set in native sets only.
	Table *Table
}

// Script is the set as the command of Restore reads it.
func (s Set) Script() string {
	if s.Table != nil {
		return s.Table.script(s.Chains, s.Rules)
	}
	var b strings.Builder
	b.WriteString("*nat\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\n")
	for _, c := range s.Chains {
		fmt.Fprintf(&b, ":%s -\n", c)
	}
	s.write(&b, "")
	for _, table := range []string{"raw", "mangle"} {
		if slices.ContainsFunc(s.Rules, func(r Rule) bool { return r.Table == table }) {
			fmt.Fprintf(&b, "*%s\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\n", table)
			s.write(&b, table)
		}
	}
	return b.String()
}

func (s Set) write(b *strings.Builder, table string) {
	for _, r := range s.Rules {
		if r.Table == table {
			fmt.Fprintf(b, "-A %s %s\n", r.Chain, r.Text)
		}
	}
	b.WriteString("COMMIT\n")
}

// Restore is the command that loads the script, replacing the whole table.
func (s Set) Restore() []string {
	if s.Table != nil {
		return []string{"nft", "-f", "-"}
	}
	if s.V6 {
		return []string{"ip6tables-" + s.Flavour + "-restore"}
	}
	return []string{"iptables-" + s.Flavour + "-restore"}
}

// Unload is what takes the set away, with the input it wants. Tables of nftables
// go with their hooks, so that the next ones register in their own order;
// legacy ones can only be emptied.
func (s Set) Unload() (input string, command []string) {
	switch {
	case s.Table != nil:
		return "", []string{"nft", "delete", "table", s.Table.Family, s.Table.Name}
	case s.Flavour == "legacy":
		empty := Set{Rules: []Rule{{Table: "raw", Chain: "OUTPUT"}, {Table: "mangle", Chain: "OUTPUT"}}}
		return strings.ReplaceAll(empty.Script(), "-A OUTPUT \n", ""), s.Restore()
	}
	family := "ip"
	if s.V6 {
		family = "ip6"
	}
	for _, table := range []string{"nat", "raw", "mangle"} {
		input += fmt.Sprintf("add table %[1]s %[2]s\ndelete table %[1]s %[2]s\n", family, table)
	}
	return input, []string{"nft", "-f", "-"}
}

// gen draws from one seed.
type gen struct {
	*rand.Rand
	v6 bool
}

func (g *gen) pick(list ...string) string { return list[g.IntN(len(list))] }

// not negates now and then.
func (g *gen) not() string {
	if g.IntN(4) == 0 {
		return "! "
	}
	return ""
}

// Generate draws one or two sets in the order in which they are to be loaded: at
// equal priority the hook that was registered last runs first. With native, sets
// of nftables rules are among them.
func Generate(seed uint64, native bool) []Set {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0x706f727467756172))}
	g.v6 = g.IntN(3) == 0
	mixtures := [][]string{{"nft"}, {"legacy"}, {"nft", "legacy"}}
	if native {
		mixtures = append(mixtures, []string{"native"}, []string{"native"}, []string{"native", "native"},
			[]string{"native", "nft"}, []string{"native", "legacy"})
	}
	var out []Set
	for i, fl := range mixtures[g.IntN(len(mixtures))] {
		if fl == "native" {
			out = append(out, g.native(i))
		} else {
			out = append(out, g.set(fl))
		}
	}
	if len(out) == 2 && out[0].Table != nil && out[1].Table == nil && g.IntN(2) == 0 {
		g.sharedMark(&out[1], &out[0])
	}
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	socketRule(seed, out)
	answerRule(seed, out)
	writtenRule(seed, out)
	ages(seed, out)
	behindRule(seed, out)
	affinity(seed, out)
	return out
}

func (g *gen) set(flavour string) Set {
	s := Set{Flavour: flavour, V6: g.v6}
	for i := range g.IntN(4) {
		s.Chains = append(s.Chains, fmt.Sprintf("C%d", i))
	}
	all := append([]string{"PREROUTING", "OUTPUT"}, s.Chains...)
	for i, c := range all {
		for range 1 + g.IntN(4) {
			// Chains lead only to later ones: the kernel refuses loops.
			s.Rules = append(s.Rules, Rule{Chain: c, Text: g.rule(c, s.Chains[max(0, i-1):])})
		}
	}
	g.besideTables(&s)
	if g.IntN(5) == 0 {
		g.tableMotif(&s)
	}
	return s
}

// rule draws the matches and the target of a rule.
func (g *gen) rule(chain string, further []string) string {
	var m []string
	proto := ""
	if g.IntN(4) > 0 {
		proto = g.pick("tcp", "tcp", "udp")
		m = append(m, "-p "+proto)
	} else if g.IntN(6) == 0 {
		m = append(m, "! -p "+g.pick("tcp", "udp", "icmp"))
	}
	if proto != "" && g.IntN(4) > 0 {
		m = append(m, g.port(proto))
	}
	for range g.IntN(3) {
		m = append(m, g.match(chain))
	}
	return strings.Join(dedupe(append(m, g.target(proto, further))), " ")
}

// dedupe drops a second match of one kind, which iptables refuses.
func dedupe(m []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range m {
		f := strings.Fields(strings.TrimPrefix(s, "! "))
		k := f[0]
		if k == "-m" {
			k = f[1]
		}
		if !seen[k] {
			out = append(out, s)
		}
		seen[k] = true
	}
	return out
}

func (g *gen) port(proto string) string {
	one := g.pick("8080", "8080", "8081", "8000:8080", "8081:9000", "0:65535", "80")
	switch g.IntN(3) {
	case 0:
		return fmt.Sprintf("-m multiport %s--dports %s", g.not(), g.pick("80,8080", "80,443,8081", "8000:8090,9000", "8080"))
	case 1:
		not := g.not()
		if one == "0:65535" {
			not = "" // iptables-save does not print the negation of all ports
		}
		return fmt.Sprintf("-m %s %s--dport %s", proto, not, one)
	}
	return fmt.Sprintf("-m %s --dport %s", proto, one)
}

func (g *gen) match(chain string) string {
	type family struct{ src, dst, ranges []string }
	f := family{
		src:    []string{"192.0.2.0/24", "192.0.2.2/32", "192.0.2.77/32", "198.51.100.0/24", "0.0.0.0/0", "10.0.0.0/8", "192.0.2.0/255.255.255.0"},
		dst:    []string{"192.0.2.1/32", "198.51.100.1/32", "192.0.2.0/24", "127.0.0.0/8", "127.0.0.1/32", "10.0.0.0/8", "0.0.0.0/1", "128.0.0.0/1"},
		ranges: []string{"192.0.2.1-192.0.2.9", "10.0.0.0-10.9.9.9", "127.0.0.0-198.51.100.1"},
	}
	if g.v6 {
		f = family{
			src:    []string{"2001:db8:2::/64", "2001:db8:2::2/128", "2001:db8:3::/64", "::/0", "fd00::/8"},
			dst:    []string{"2001:db8:2::1/128", "2001:db8:3::1/128", "2001:db8:2::/64", "::1/128", "fd00::/8", "2000::/3"},
			ranges: []string{"2001:db8:2::1-2001:db8:2::9", "fd00::1-fd00::9"},
		}
	}
	switch g.IntN(14) {
	case 11, 12, 13:
		return g.besideMatch(chain)
	case 0, 1:
		return g.not() + "-s " + g.pick(f.src...)
	case 2, 3:
		return g.not() + "-d " + g.pick(f.dst...)
	case 4:
		if chain == "PREROUTING" {
			return g.not() + "-i " + g.pick("eth0", "ens1", "eth+", "lo", "ens+")
		}
		if chain == "OUTPUT" {
			return g.not() + "-o " + g.pick("lo", "eth0", "l+", "ens+")
		}
		return "-m comment --comment \"in a chain\""
	case 5:
		return "-m addrtype " + g.not() + "--dst-type " + g.pick("LOCAL", "LOCAL", "UNICAST", "BROADCAST,LOCAL", "LOCAL,ANYCAST")
	case 6:
		return "-m addrtype " + g.not() + "--src-type " + g.pick("LOCAL", "UNICAST")
	case 7:
		return "-m conntrack " + g.not() + "--ctstate " + g.pick("NEW", "NEW,ESTABLISHED", "ESTABLISHED,RELATED", "INVALID")
	case 8:
		return "-m mark " + g.not() + "--mark " + g.pick("0x1", "0x1/0x1", "0x0", "0x0/0x1")
	case 9:
		return "-m iprange " + g.not() + "--dst-range " + g.pick(f.ranges...)
	}
	return "-m statistic --mode nth --every 2 --packet " + g.pick("0", "1")
}

// target draws what happens to a packet; half of the rules translate.
func (g *gen) target(proto string, further []string) string {
	to := "203.0.113.9"
	if g.v6 {
		to = "[2001:db8:9::9]"
	}
	switch n := g.IntN(12); {
	case n < 4 && proto != "":
		return "-j DNAT --to-destination " + to + ":9999"
	case n < 4:
		return "-j DNAT --to-destination " + strings.Trim(to, "[]")
	case n == 4 && proto != "":
		return "-j REDIRECT --to-ports 9998"
	case n < 6:
		return "-j RETURN"
	case n == 6:
		return "-j ACCEPT"
	case n == 7:
		return "-j MARK --set-xmark 0x1/0x1"
	}
	if len(further) == 0 {
		return "-j " + g.pick("RETURN", "ACCEPT", "MARK --set-xmark 0x1/0x1")
	}
	return g.pick("-j ", "-j ", "-g ") + g.pick(further...)
}
