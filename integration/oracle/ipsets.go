// SPDX-License-Identifier: Apache-2.0

package oracle

// IPSets are commands of ipset restore that make the sets that rules look into.
func IPSets() []string {
	out := []string{"create PORT bitmap:port range 0-65535", "add PORT 8080", "create OTHER bitmap:port range 0-65535", "add OTHER 8081", "create BITS bitmap:ip range 192.0.2.0/24", "add BITS 192.0.2.1"}
	for _, f := range []struct{ n, family, a, b, net string }{
		{"4", "inet", "192.0.2.1", "10.1.1.1", "192.0.2.0/24"},
		{"6", "inet6", "2001:db8:2::1", "fd00::5", "2001:db8:2::/64"},
	} {
		out = append(out,
			"create ADDR"+f.n+" hash:ip family "+f.family, "add ADDR"+f.n+" "+f.a, "add ADDR"+f.n+" "+f.b,
			"create NET"+f.n+" hash:net family "+f.family, "add NET"+f.n+" "+f.net,
			"create PAIR"+f.n+" hash:ip,port family "+f.family, "add PAIR"+f.n+" "+f.a+",tcp:8080", "add PAIR"+f.n+" "+f.b+",tcp:8080", "add PAIR"+f.n+" "+f.b+",udp:8080",
			"create NETPORT"+f.n+" hash:net,port family "+f.family, "add NETPORT"+f.n+" "+f.net+",tcp:8080", "add NETPORT"+f.n+" "+f.b+",udp:8080",
			"create BUT"+f.n+" hash:net family "+f.family, "add BUT"+f.n+" "+f.net, "add BUT"+f.n+" "+f.a+" nomatch",
			"create THREE"+f.n+" hash:ip,port,ip family "+f.family, "add THREE"+f.n+" "+f.b+",tcp:8080,"+f.a,
			"create AND"+f.n+" hash:ip,port,net family "+f.family, "add AND"+f.n+" "+f.a+",tcp:8080,"+f.net,
			"create FACE"+f.n+" hash:net,iface family "+f.family, "add FACE"+f.n+" "+f.net+",eth0",
			"create PAIRS"+f.n+" list:set", "add PAIRS"+f.n+" PAIR"+f.n, "add PAIRS"+f.n+" NETPORT"+f.n,
			"create LIST"+f.n+" list:set", "add LIST"+f.n+" ADDR"+f.n, "add LIST"+f.n+" OTHER", "add LIST"+f.n+" PAIR"+f.n,
			"create FROM"+f.n+" list:set", "add FROM"+f.n+" ADDR"+f.n, "add FROM"+f.n+" PAIR"+f.n)
	}
	return out
}
