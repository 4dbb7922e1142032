// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
)

func nativeCases(t testing.TB) []findCase {
	kube := node().native(proxy(), base(nft.IPv4, "kube-proxy", "nat-prerouting", "nat", nft.Prerouting), base(nft.IPv4, "kube-proxy", "nat-output", "nat", nft.Output))
	level := kube
	level.Place = Place{Flavour: "nft"}
	older := proxy()
	delete(older.chains, "nodeport-endpoints-check")
	one := func(es ...nft.Expr) *table4 {
		s := &table4{chains: map[string][]nft.Rule{}}
		s.rule("pre", "0123456789abcdef", append(dportIs(80), es...)...)
		return s
	}
	dnat, any4, any6 := ex("nat", 1, 1, 2, 2), attach(mapTo(v4, "")), attach(mapTo(v6, ""))
	pre := func(family uint8, table string, es ...nft.Expr) Snapshot {
		return node().native(one(es...), base(family, table, "pre", "nat", nft.Prerouting))
	}
	filter := func(es ...nft.Expr) Snapshot {
		return node().native(one(es...), base(nft.Inet, "t", "pre", "filter", nft.Prerouting))
	}
	port := func(n uint16) hostport.Attachment { return attach(mapPort(v4, "", tcp, n)) }
	return []findCase{
		{"a NodePort of nftables mode refuses", port(30080), kube, "refuse 102", "hostPort 30080/tcp is taken: it is a NodePort of Service default/web:http; change"},
		{"it refuses the address", attach(mapPort(v4, nodeIP, tcp, 30080)), kube, "refuse 102", "default/web:http"},
		{"it does not refuse an address without NodePorts", attach(mapPort(v4, other, tcp, 30080)), kube, "", ""},
		{"a NodePort of a port without a name refuses", port(30083), kube, "refuse 102", "Service default/lb;"},
		{"a NodePort of another protocol does not", attach(mapPort(v4, "", udp, 30080)), kube, "", ""},
		{"a NodePort of another family does not", attach(mapPort(v6, "", tcp, 30080)), kube, "", ""},
		{"a NodePort without endpoints refuses", port(30082), kube, "refuse 102", "it is a NodePort of Service default/empty (without endpoints now)"},
		{"another version of kube-proxy has no such chain", port(30082), node().native(older, kube.Rulesets[0].Chains...), "", ""},
		{"a Service's address on the node warns", port(443), kube, "warn 106", "Service default/lb has the same port on the node address 192.0.2.1; there the Service wins"},
		{"a Service's address elsewhere does not", attach(mapPort(v4, other, tcp, 443)), kube, "", ""},
		{"level with kube-proxy the order is not known, and its address refuses", port(443), level, "refuse 103", "nobody can tell which of the two would be asked first"},
		{"level with kube-proxy a NodePort refuses as ever", port(30080), level, "refuse 102", "NodePort of Service default/web:http"},
		{"level with kube-proxy a free port is free", port(81), level, "", ""},
		{"a free port beside kube-proxy is free", port(81), kube, "", ""},

		{"a native dnat refuses", any4, pre(nft.IPv4, "t", dnat), "refuse 103", "a NAT rule has it (dnat, nftables ip t pre: handle 1: [ payload load 2b @ transport header + 2 ] [ cmp eq 0x0050 ] [ nat ]"},
		{"a native dnat of an inet table refuses", any4, pre(nft.Inet, "t", dnat), "refuse 103", "nftables inet t"},
		{"a native dnat of IPv4 does not concern IPv6", any6, pre(nft.Inet, "t", dnat), "", ""},
		{"a table of another family does not concern IPv6", any6, pre(nft.IPv4, "t", ex("redir")), "", ""},
		{"portmap's table is named", any4, pre(nft.Inet, "cni_hostport", dnat), "refuse 103", "portmap has it for container 0123456789abc"},
		{"docker's table is named", any4, pre(nft.IPv4, "docker-bridges", dnat), "refuse 103", "docker publishes it"},
		{"firewalld's table is named", any4, pre(nft.Inet, "firewalld", dnat), "refuse 103", "firewalld forwards it"},
		{"podman's table is named", any4, pre(nft.Inet, "netavark", dnat), "refuse 103", "podman publishes it"},
		{"a native rule that cannot be decoded refuses", any4, pre(nft.IPv4, "t", ex("frob")), "refuse 104", "frob"},
		{"a native tproxy refuses", any4, filter(ex("tproxy", 1, 2)), "refuse 103", "tproxy"},
		{"in a chain of filter nothing else can", any4, filter(ex("frob"), verdict(nft.Drop, "")), "", ""},
		{"an accept in a native table hides nothing", any4, pre(nft.IPv4, "t", verdict(nft.Accept, "")), "", ""},

		{"a native chain in a table of iptables refuses", any4, pre(nft.IPv4, "nat", dnat).rules(t, v6, true), "refuse 103", ""},
		{"so does one in table mangle", any4, pre(nft.IPv4, "mangle", dnat).rules(t, v4, true), "refuse 103", ""},
		{"an inet table of that name does too", any4, pre(nft.Inet, "nat", dnat).rules(t, v4, true), "refuse 103", ""},
	}
}

func mangleCases(t testing.TB) []findCase {
	in := func(rules ...string) Snapshot {
		return node().dump(t, v4, false, "*mangle\n"+table(rules)+"COMMIT\n")
	}
	const tproxy = " -j TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1"
	return []findCase{
		{"a TPROXY refuses", attach(mapTo(v4, "")), in("PREROUTING -p tcp -m tcp --dport 80" + tproxy), "refuse 103", "TPROXY"},
		{"a TPROXY behind a jump refuses", attach(mapTo(v4, "")), in("PREROUTING -j X", "X -p tcp -m tcp --dport 80"+tproxy), "refuse 103", "PREROUTING > X"},
		{"a TPROXY of another port does not", attach(mapTo(v4, "")), in("PREROUTING -p tcp -m tcp --dport 81" + tproxy), "", ""},
		{"a TPROXY that depends on a mark refuses", attach(mapTo(v4, "")), in("PREROUTING -p tcp -m tcp --dport 80 -m mark --mark 0x1" + tproxy), "refuse 104", ""},
		{"other targets of mangle do not", attach(mapTo(v4, "")), in("PREROUTING -p tcp -m tcp --dport 80 -j FROB"), "", ""},
	}
}

func ipvsCases(t testing.TB) []findCase {
	const truncated = "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS"
	sets := fakeSets{members: map[string][]string{
		"KUBE-NODE-PORT-TCP": {"bitmap:port", "30080"}, "KUBE-NODE-PORT-SCTP-HASH": {"hash:ip,port", nodeIP + ",sctp:30081"},
		"KUBE-6-NODE-PORT-TCP": {"bitmap:port", "30080"}, truncated: {"hash:ip,port", "2001:db8::1,sctp:30081"},
		"WITH-SOURCE": {"hash:ip,port,ip", ""},
	}}
	match := func(p, set, dims string) string {
		return "KUBE-NODE-PORT -p " + p + ` -m comment --comment "x" -m set --match-set ` + set + " " + dims + " -j KUBE-MARK-MASQ"
	}
	four := []string{match("tcp", "KUBE-NODE-PORT-TCP", "dst"), match("sctp", "KUBE-NODE-PORT-SCTP-HASH", "dst,dst"), "KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"}
	six := []string{match("tcp", "KUBE-6-NODE-PORT-TCP", "dst"), match("sctp", truncated, "dst,dst"), "KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"}
	way := []string{"PREROUTING -j KUBE-SERVICES", "KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT"}
	at := func(f hostport.Family, rules ...string) Snapshot {
		s := node().rules(t, f, true, rules...)
		sets.rules = s.Rulesets[0].Source.(*xtrule.Tables)
		s.Sets = sets
		return s
	}
	ipvs, ipvs6 := at(v4, append(slices.Clone(way), four...)...), at(v6, append(slices.Clone(way), six...)...)
	noSets := ipvs
	noSets.Sets = nil
	sctp := func(f hostport.Family, ip string) hostport.Attachment {
		return attach(mapPort(f, ip, hostport.SCTP, 30081))
	}
	return []findCase{
		{"a NodePort of ipvs mode refuses", attach(mapPort(v4, "", tcp, 30080)), ipvs, "refuse 102", "a NodePort of a Service (in kube-proxy's ipset KUBE-NODE-PORT-TCP)"},
		{"another port does not", attach(mapPort(v4, "", tcp, 30081)), ipvs, "", ""},
		{"another protocol does not", attach(mapPort(v4, "", udp, 30080)), ipvs, "", ""},
		{"an sctp NodePort refuses", sctp(v4, ""), ipvs, "refuse 102", "KUBE-NODE-PORT-SCTP-HASH"},
		{"an sctp NodePort refuses its address", sctp(v4, nodeIP), ipvs, "refuse 102", ""},
		{"an sctp NodePort of another address does not", sctp(v4, other), ipvs, "", ""},
		{"a NodePort of IPv6 refuses", attach(mapPort(v6, "", tcp, 30080)), ipvs6, "refuse 102", "KUBE-6-NODE-PORT-TCP"},
		{"a set with a name that was cut refuses", sctp(v6, ""), ipvs6, "refuse 102", truncated},
		{"chains that nothing leads to are left over", attach(mapPort(v4, "", tcp, 30080)), at(v4, four...), "", ""},
		{"so is one that only the Services' chain leads to", attach(mapPort(v4, "", tcp, 30080)), at(v4, append([]string{way[1]}, four...)...), "", ""},
		{"so is one that the Services' chain does not lead to", attach(mapPort(v4, "", tcp, 30080)), at(v4, append([]string{way[0], "KUBE-SERVICES -j RETURN"}, four...)...), "", ""},
		{"a set that is not there is none", attach(mapPort(v4, "", tcp, 30080)), at(v4, append(slices.Clone(way), match("tcp", "GONE", "dst"), four[2])...), "", ""},
		{"a set with sources in it has some of the packets", attach(mapPort(v4, "", tcp, 30080)), at(v4, append(slices.Clone(way), match("tcp", "WITH-SOURCE", "dst,dst,src"), four[2])...), "refuse 102", ""},
		{"without ipsets there is no ipvs", attach(mapPort(v4, "", tcp, 30080)), noSets, "", ""},
	}
}

func TestNativeRules(t *testing.T) { check(t, nativeCases(t)) }

func TestMangle(t *testing.T) { check(t, mangleCases(t)) }

func TestIPVS(t *testing.T) { check(t, ipvsCases(t)) }

// What cannot be read is an error, not a free port.
func TestNativeFailsClosed(t *testing.T) {
	errNo := errors.New("no answer")
	chain := base(nft.IPv4, "kube-proxy", "nat-prerouting", "nat", nft.Prerouting)
	noMap := proxy()
	delete(noMap.sets, "service-nodeports")
	deep := proxy()
	deep.rule("nodeport-endpoints-check", "", verdict(nft.Jump, "nodeport-endpoints-check"))
	ipvs := node().rules(t, v4, true, "PREROUTING -j KUBE-SERVICES", "KUBE-SERVICES -j KUBE-NODE-PORT",
		"KUBE-NODE-PORT -p tcp -m set --match-set S dst -j MARK --set-xmark 0x1/0x1")
	ipvs.Sets = fakeSets{err: errNo}
	for name, tt := range map[string]struct {
		s    Snapshot
		want error
	}{
		"a chain":        {node().native(&table4{err: errNo}, chain), errNo},
		"a set":          {node().native(noMap, chain), fs.ErrNotExist},
		"too many jumps": {node().native(deep, chain), nil},
		"an ipset":       {ipvs, errNo},
	} {
		_, err := Find(attach(mapTo(v4, "")), tt.s)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: error is %v, want %v", name, err, tt.want)
		}
	}
}
