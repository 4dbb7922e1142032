// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

func (s Snapshot) serves(servers ...hostport.VirtualServer) Snapshot {
	s.Servers = servers
	return s
}

func server(p hostport.Proto, ip string, port uint16) hostport.VirtualServer {
	return hostport.VirtualServer{Proto: p, Addr: netip.MustParseAddr(ip), Port: port}
}

func (s Snapshot) leads(rules ...hostport.RouteRule) Snapshot {
	s.Policy = rules
	return s
}

// early is a rule of IPv4 that leads everything elsewhere.
func early(change func(*hostport.RouteRule)) hostport.RouteRule {
	r := hostport.RouteRule{Family: v4, Text: "50: x", Routed: addrset.All(true)}
	change(&r)
	return r
}

func (s Snapshot) mangled(t testing.TB, rules ...string) Snapshot {
	return s.dump(t, v4, false, "*mangle\n"+table(rules)+"COMMIT\n")
}

func programCases() []findCase {
	one, unknown, nested := node(), node(), node()
	nested.Programs = hostport.Programs{Unknown: "nobody may ask", Nested: true}
	one.Programs.Attached = []hostport.Program{{ID: 12, Name: "tubular"}}
	unknown.Programs.Unknown = "nobody may ask"
	return []findCase{
		{"a BPF program that chooses sockets refuses", attach(mapTo(v4, "")), one, "refuse 113",
			`hostPort 80/tcp may be taken: BPF program 12 (sk_lookup "tubular") is attached to the network namespace of the node and may give any port to a socket (bpftool prog show id 12); detach it, or set conflictPolicy to "warn" if it leaves hostPorts alone`},
		{"for one address too", attach(mapPort(v6, "2001:db8::1", udp, 53)), one, "refuse 113", ""},
		{"it is not asked for sctp", attach(mapPort(v4, "", hostport.SCTP, 80)), one, "", ""},
		{"where nobody may ask it is a warning", attach(mapTo(v4, ""), mapTo(v6, "")), unknown, "warn 113; warn 113",
			"whether a BPF program (sk_lookup) has the traffic of hostPorts is not known: nobody may ask"},
		{"where only root of the machine could attach one it is nothing", attach(mapTo(v4, "")), nested, "", ""},
	}
}

// anyMark is a node that gives packets to port 80 a mark that nobody can tell: a drawn one.
func anyMark() Snapshot {
	ofMember := binary.NativeEndian.AppendUint32(make([]byte, 12), 1<<8) // -j SET --map-set NAME dst --map-mark
	set := xt.TargetExpr(xt.Info{Name: "SET", Rev: 3, Data: append(ofMember, make([]byte, 32)...)})
	return hooks(hookedAt{"mangle", "filter", nft.Prerouting, -150, [][]nft.Expr{append(dportIs(80), set)}})
}

// drawnMark is a node where a rule draws the mark of packets.
func drawnMark() Snapshot {
	drawn := slices.Concat(dportIs(80), []nft.Expr{ex("numgen", 1, 8), ex("meta", 2, 3, 3, 8)})
	return hooks(hookedAt{"mangle", "filter", nft.Prerouting, -150, [][]nft.Expr{drawn}})
}

func serverCases(t testing.TB) []findCase {
	any4, only := attach(mapTo(v4, "")), attach(mapTo(v4, nodeIP))
	mark := hostport.VirtualServer{Mark: 7}
	excluding := attach(mapTo(v4, ""))
	excluding.Excludes = []netip.Prefix{netip.MustParsePrefix(other + "/32")}
	sets := fakeSets{members: map[string][]string{"KUBE-LOAD-BALANCER": {"hash:ip,port", nodeIP + ",tcp:80"}, "KUBE-NODE-PORT-TCP": {"bitmap:port", "80"}}}
	balanced := node().serves(server(tcp, nodeIP, 80))
	balanced.Sets = sets
	ipvs := node().serves(server(tcp, nodeIP, 80), server(tcp, other, 80)).rules(t, v4, true, "PREROUTING -j KUBE-SERVICES", "KUBE-SERVICES -j KUBE-NODE-PORT",
		`KUBE-NODE-PORT -p tcp -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ`, "KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000")
	sets.members = map[string][]string{"KUBE-NODE-PORT-TCP": {"bitmap:port", "80"}}
	sets.rules = ipvs.Rulesets[0].Source.(*xtrule.Tables)
	ipvs.Sets = sets
	return []findCase{
		{"a virtual server on a node address refuses", any4, node().serves(server(tcp, nodeIP, 80)), "refuse 102",
			"hostPort 80/tcp is taken: IPVS virtual server 192.0.2.1:80/tcp has it; ipvsadm -Ln shows it; remove it or choose another hostPort"},
		{"it refuses its address", only, node().serves(server(tcp, nodeIP, 80)), "refuse 102", ""},
		{"not another one", only, node().serves(server(tcp, other, 80)), "", ""},
		{"nor one that is not mapped", excluding, node().serves(server(tcp, other, 80)), "", ""},
		{"nor another port or protocol", any4, node().serves(server(tcp, nodeIP, 81), server(udp, nodeIP, 80)), "", ""},
		{"one for all ports does", any4, node().serves(server(tcp, nodeIP, 0)), "refuse 102", "192.0.2.1:0/tcp"},
		{"one of IPv6 refuses IPv6", attach(mapTo(v4, ""), mapTo(v6, "")), node().serves(server(tcp, "2001:db8::1", 80)), "refuse 102", "[2001:db8::1]:80/tcp"},
		{"one on a Service's address does not", any4, node().serves(server(tcp, "10.96.0.10", 80)), "", ""},
		{"one on an address elsewhere does not", any4, node().serves(server(tcp, "203.0.113.9", 80)), "", ""},
		{"one for a LoadBalancer's address warns", any4, balanced, "warn 106", "a Service has the same port on the node address 192.0.2.1 (IPVS virtual server 192.0.2.1:80/tcp)"},
		{"a NodePort of ipvs mode is found once", any4, ipvs, "refuse 102", "KUBE-NODE-PORT-TCP"},

		{"one for a mark that a rule sets refuses", any4, node().serves(mark).mangled(t, "PREROUTING -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x7/0xffffffff"), "refuse 102", "IPVS virtual server fwmark 7 has it"},
		{"in INPUT too", any4, node().serves(mark).mangled(t, "INPUT -i eth0 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x7/0xffffffff"), "refuse 102", ""},
		{"for a mark that none sets it warns", any4, node().serves(mark), "warn 102", "has packets with that mark, and whether any"},
		{"for a mark that is set to something unknown it refuses", any4, anyMark().serves(mark), "refuse 102", "hostPort 80/tcp may be taken: IPVS virtual server fwmark 7 has packets with that mark, and portguard cannot tell"},
		{"for a mark that is drawn too", any4, drawnMark().serves(mark), "refuse 102", "IPVS virtual server fwmark 7 has it"},
		{"for another than is set it does not", any4, node().serves(mark).mangled(t, "PREROUTING -j MARK --set-xmark 0x8/0xffffffff", "OUTPUT -j MARK --set-xmark 0x8/0xffffffff"), "", ""},
	}
}

func policyCases(t testing.TB) []findCase {
	any4, only := attach(mapTo(v4, "")), attach(mapTo(v4, nodeIP))
	rule := func(change func(*hostport.RouteRule)) Snapshot { return node().leads(early(change)) }
	marked := early(func(r *hostport.RouteRule) {
		r.Text, r.Mark, r.Mask = "50: from all fwmark 0x7 lookup 77", 7, ^uint32(0)
	})
	set := "PREROUTING -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x7/0xffffffff"
	return []findCase{
		{"a rule by a mark that is set before it refuses", any4, node().leads(marked).mangled(t, set), "refuse 114",
			`hostPort 80/tcp is taken: policy routing leads its packets elsewhere before it asks for addresses of the node: ip rule "50: from all fwmark 0x7 lookup 77"; restrict that rule`},
		{"at another address it may", attach(mapTo(v4, other)), node().leads(marked).mangled(t, set), "warn 114", "may lead some of its packets elsewhere"},
		{"by a mark that none sets it warns", any4, node().leads(marked), "warn 114", ""},
		{"by a mark that is set to something unknown it refuses", any4, anyMark().leads(marked), "refuse 114", "hostPort 80/tcp may be taken: policy routing comes before table local, and portguard cannot tell"},
		{"by a mark that is drawn too", any4, drawnMark().leads(marked), "refuse 114", "policy routing leads its packets elsewhere"},
		{"by a mark that is another it does not", any4, node().leads(marked).mangled(t, "PREROUTING -j MARK --set-xmark 0x8/0xffffffff", "OUTPUT -j MARK --set-xmark 0x8/0xffffffff"), "", ""},
		{"a rule for all refuses", only, rule(func(*hostport.RouteRule) {}), "refuse 114", ""},
		{"for a source too", only, rule(func(r *hostport.RouteRule) { r.Src = netip.MustParsePrefix("10.8.0.0/24") }), "refuse 114", ""},
		{"for a link too", only, rule(func(r *hostport.RouteRule) { r.In = "eth1" }), "refuse 114", ""},
		{"for what comes in by lo", only, rule(func(r *hostport.RouteRule) { r.In = "lo" }), "refuse 114", ""},
		{"for another port it does not", only, rule(func(r *hostport.RouteRule) { r.Ports = [2]uint16{81, 90} }), "", ""},
		{"for the port it does", only, rule(func(r *hostport.RouteRule) { r.Ports = [2]uint16{79, 90} }), "refuse 114", ""},
		{"for another protocol it does not", only, rule(func(r *hostport.RouteRule) { r.Proto = udp }), "", ""},
		{"for another address it does not", only, rule(func(r *hostport.RouteRule) { r.Dst = netip.MustParsePrefix(other + "/32") }), "", ""},
		{"for another family it does not", attach(mapTo(v6, "")), rule(func(*hostport.RouteRule) {}), "", ""},
		{"a table without the address leads nowhere", only, rule(func(r *hostport.RouteRule) { r.Routed = addrset.Of(netip.MustParsePrefix("203.0.113.0/24")) }), "", ""},
		{"what is not looked at warns", only, rule(func(r *hostport.RouteRule) { r.Vague = true }), "warn 114", ""},
	}
}

func TestOtherOwners(t *testing.T) {
	check(t, programCases())
	check(t, serverCases(t))
	check(t, policyCases(t))
}
