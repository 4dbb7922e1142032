// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// affinity adds a Service of the shape of kube-proxy's with session affinity now and then: clients
// that an endpoint had are led to it again by a set that its own rules fill. The Service has the
// port that is asked about or another, at all addresses of the node, at one, or at one that is none
// of its. It draws from numbers of its own, as socketRule does.
func affinity(seed uint64, sets []Set) {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0x616666696e697479))}
	if g.IntN(5) > 0 {
		return
	}
	s := &sets[g.IntN(len(sets))]
	sv := service{gen: g, proto: g.pick("tcp", "tcp", "udp"), port: g.pick("8080", "8080", "8081", "30080"), endpoints: 1 + g.IntN(3)}
	sv.at = g.pick("", "", "192.0.2.1", "10.96.0.1")
	sv.from = g.pick("", "", "", "192.0.2.0/24", "198.51.100.0/24") // of which packets come
	sv.to = "203.0.113.9:9999"
	if s.V6 {
		sv.at = strings.NewReplacer("192.0.2.1", "2001:db8:2::1", "10.96.0.1", "fd00::1").Replace(sv.at)
		sv.from = strings.NewReplacer("192.0.2.0/24", "2001:db8:2::/64", "198.51.100.0/24", "2001:db8:3::/64").Replace(sv.from)
		sv.to = "[2001:db8:9::9]:9999"
	}
	rules := sv.tables()
	if s.Table != nil {
		rules = sv.native(s)
	} else {
		s.Chains = append(s.Chains, sv.chains()...)
	}
	if g.IntN(2) == 0 { // kube-proxy came before all others, or after them
		s.Rules = slices.Concat(rules, s.Rules)
	} else {
		s.Rules = append(s.Rules, rules...)
	}
}

// A service leads a port to its endpoints, which are one address here.
type service struct {
	*gen
	proto, port, at, from, to string
	endpoints                 int
}

// chains are those of the Service: what its port leads to, which sources may, and the endpoints.
func (sv service) chains() []string {
	out := []string{"KSVCS", "KEXT", "KSVC"}
	for i := range sv.endpoints {
		out = append(out, fmt.Sprintf("KSEP%d", i))
	}
	return out
}

// tables are its rules in iptables.
func (sv service) tables() (out []Rule) {
	add := func(chain, format string, args ...any) {
		out = append(out, Rule{Chain: chain, Text: fmt.Sprintf(format, args...)})
	}
	for _, c := range []string{"PREROUTING", "OUTPUT"} {
		add(c, "-j KSVCS")
	}
	at := "-m addrtype --dst-type LOCAL"
	if sv.at != "" {
		at = "-d " + sv.at
	}
	add("KSVCS", "%s -p %[2]s -m %[2]s --dport %s -j KEXT", at, sv.proto, sv.port)
	add("KEXT", "-j MARK --set-xmark 0x4000/0x4000")
	if sv.from != "" {
		add("KEXT", "-s %s -j KSVC", sv.from)
	} else {
		add("KEXT", "-j KSVC")
	}
	for i := range sv.endpoints {
		add("KSVC", "-m recent --rcheck --seconds 10800 --reap --name KSEP%d --rsource -j KSEP%[1]d", i)
	}
	for i := range sv.endpoints {
		chance := fmt.Sprintf("-m statistic --mode random --probability %.3f ", 1/float64(sv.endpoints-i))
		if i == sv.endpoints-1 {
			chance = ""
		}
		add("KSVC", "%s-j KSEP%d", chance, i)
		add(fmt.Sprintf("KSEP%d", i), "-s 10.88.0.5 -j MARK --set-xmark 0x4000/0x4000")
		add(fmt.Sprintf("KSEP%d", i), "-p %[1]s -m recent --set --name KSEP%[2]d --rsource -m %[1]s -j DNAT --to-destination %[3]s", sv.proto, i, sv.to)
	}
	if strings.HasPrefix(sv.to, "[") {
		out = slices.DeleteFunc(out, func(r Rule) bool { return strings.HasPrefix(r.Text, "-s 10.88.") })
	}
	return out
}

// native are its rules in nftables, with the sets and the map that they look into.
func (sv service) native(s *Set) (out []Rule) {
	add := func(chain, format string, args ...any) {
		out = append(out, Rule{Chain: chain, Text: fmt.Sprintf(format, args...)})
	}
	ip, addr := "ip", "ipv4_addr"
	if s.V6 {
		ip, addr = "ip6", "ipv6_addr"
	}
	s.Chains = append(s.Chains, sv.chains()...)
	for _, b := range s.Table.Bases {
		if b.Type == "nat" && (b.Hook == "prerouting" || b.Hook == "output") {
			add(b.Name, "jump KSVCS")
		}
	}
	at := "fib daddr type local"
	if sv.at != "" {
		at = ip + " daddr " + sv.at
	}
	s.Table.Objects = append(s.Table.Objects, fmt.Sprintf("map kports { type inet_proto . inet_service : verdict; elements = { %s . %s : goto KEXT }; }", sv.proto, sv.port))
	add("KSVCS", "%s meta l4proto . th dport vmap @kports", at)
	add("KEXT", "meta mark set meta mark or 0x4000")
	if sv.from != "" {
		add("KEXT", "%s saddr != %s return", ip, sv.from)
	}
	add("KEXT", "goto KSVC")
	var numbers []string
	for i := range sv.endpoints {
		s.Table.Objects = append(s.Table.Objects, fmt.Sprintf("set kaff%d { type %s; size 65535; flags dynamic,timeout; timeout 3h; }", i, addr))
		add("KSVC", "%s saddr @kaff%d goto KSEP%[2]d", ip, i)
		add(fmt.Sprintf("KSEP%d", i), "update @kaff%d { %s saddr }", i, ip)
		add(fmt.Sprintf("KSEP%d", i), "meta l4proto %s dnat %s to %s", sv.proto, ip, sv.to)
		numbers = append(numbers, fmt.Sprintf("%d : goto KSEP%[1]d", i))
	}
	add("KSVC", "numgen random mod %d vmap { %s }", sv.endpoints, strings.Join(numbers, ", "))
	return out
}
