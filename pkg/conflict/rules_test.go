// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

func ruleCases(t testing.TB) []findCase {
	any4, any6, only := attach(mapTo(v4, "")), attach(mapTo(v6, "")), attach(mapTo(v4, nodeIP))
	away := attach(mapTo(v4, "198.51.100.9"))
	noLocal := attach(mapTo(v4, ""))
	noLocal.Localhost = false
	in := func(rules ...string) Snapshot { return node().rules(t, v4, true, rules...) }
	elsewhere := func(rules ...string) Snapshot { return node().rules(t, v4, false, rules...) }
	const dnat = "-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080"
	const local = "PREROUTING -m addrtype --dst-type LOCAL -j "
	return []findCase{
		{"no rules are no conflict", any4, in(), "", ""},
		{"a DNAT refuses the wildcard", any4, in("PREROUTING " + dnat), "refuse 103", `hostPort 80/tcp is taken: a NAT rule has it (DNAT to 10.0.0.2:8080, iptables-nft IPv4 nat PREROUTING: "-p tcp`},
		{"a DNAT refuses an address", only, in("PREROUTING " + dnat), "refuse 103", ""},
		{"a DNAT in OUTPUT refuses", any4, in("OUTPUT " + dnat), "refuse 103", "nat OUTPUT"},
		{"a DNAT in the flavour that is not ours refuses", any4, elsewhere("PREROUTING " + dnat), "refuse 103", ""},
		{"a DNAT of a node address refuses the wildcard", any4, in("PREROUTING -d 192.0.2.2/32 " + dnat), "refuse 103", ""},
		{"a DNAT of another address does not refuse an address", only, in("PREROUTING -d 192.0.2.2/32 " + dnat), "", ""},
		{"a DNAT of a foreign address does not refuse", any4, in("PREROUTING -d 198.51.100.1/32 " + dnat), "", ""},
		{"a DNAT of a floating address refuses that address", away, in("PREROUTING -d 198.51.100.9/32 " + dnat), "refuse 103", ""},
		{"a DNAT of all but a node address refuses", any4, in("PREROUTING ! -d 192.0.2.1/32 " + dnat), "refuse 103", ""},
		{"a DNAT for some sources refuses", any4, in("PREROUTING -s 10.0.0.0/8 " + dnat), "refuse 103", ""},
		{"a DNAT of another port does not", any4, in("PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.0.0.2:80"), "", ""},
		{"a DNAT of a range with the port refuses", any4, in("PREROUTING -p tcp -m multiport --dports 1,70:90 -j REDIRECT --to-ports 5"), "refuse 103", "REDIRECT"},
		{"a DNAT of another protocol does not", any4, in("PREROUTING -p udp -m udp --dport 80 -j DNAT --to-destination 10.0.0.2:80"), "", ""},
		{"a DNAT of IPv4 does not concern IPv6", any6, in("PREROUTING " + dnat), "", ""},
		{"a DNAT of IPv6 refuses IPv6", any6, node().rules(t, v6, true, "PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::2]:80"), "refuse 103", "IPv6"},
		{"a DNAT of everything refuses", any4, in("PREROUTING -j DNAT --to-destination 10.0.0.2"), "refuse 103", ""},
		{"a DNAT of 127.0.0.1 in OUTPUT refuses", any4, in("OUTPUT -d 127.0.0.1/32 " + dnat), "refuse 103", ""},
		{"without localhost it does not", noLocal, in("OUTPUT -d 127.0.0.1/32 " + dnat), "", ""},
		{"a DNAT of a carved address does not", any4, in("OUTPUT -d 127.0.0.1/32 " + dnat).with(listens(tcp, "127.0.0.1", 80)), "carve 127.0.0.1:80/tcp", ""},
		{"a DNAT of 127.0.0.1 in PREROUTING takes nothing", any4, in("PREROUTING -d 127.0.0.1/32 " + dnat), "", ""},
		{"a DNAT of a Service's address takes nothing of ours", any4, in("PREROUTING -d 10.96.0.10/32 " + dnat), "", ""},
		{"our own chains are not a conflict", any4, in(local+"PORTGUARD-HOSTPORTS", "PORTGUARD-HOSTPORTS "+dnat), "", ""},

		{"docker is named", any4, in(local+"DOCKER", "DOCKER ! -i docker0 "+dnat), "refuse 103", "docker publishes it (DNAT to 10.0.0.2:8080"},
		{"docker's container is named", any4, in(local+"DOCKER", "DOCKER ! -i docker0 "+dnat).with(forContainer("10.0.0.2:8080", "shop")), "refuse 103; refuse 100", "docker publishes it for container shop (DNAT to 10.0.0.2:8080"},
		{"portmap is named with its container", any4, in(local+"CNI-HOSTPORT-DNAT",
			`CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"0123456789abcdef\"" -m multiport --dports 80 -j CNI-DN-x`, "CNI-DN-x "+dnat),
			"refuse 103", "portmap has it for container 0123456789abc (network cbr0)"},
		{"portmap's of another interface of the container does not refuse", any4, in(local+"CNI-HOSTPORT-DNAT",
			`CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"me\"" -m multiport --dports 80 -j CNI-DN-x`, "CNI-DN-x "+dnat),
			"warn 103", "hostPort 80/tcp: portmap has it for network cbr0 of the same container; eth0 has it when that goes"},
		{"portmap's of the same network does", any4, in(local+"CNI-HOSTPORT-DNAT",
			`CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"n\" id: \"me\"" -m multiport --dports 80 -j CNI-DN-x`, "CNI-DN-x "+dnat),
			"refuse 103", ""},
		{"portmap without its comment is named", any4, in(local+"CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-DNAT "+dnat), "refuse 103", "portmap has it for a container"},
		{"CRI-O is named", any4, in(local+"KUBE-HOSTPORTS", "KUBE-HOSTPORTS "+dnat), "refuse 103", "CRI-O maps it"},
		{"newer CRI-O is named", any4, in(local+"CRIO-HOSTPORTS-DNAT", "CRIO-HOSTPORTS-DNAT "+dnat), "refuse 103", "CRI-O maps it"},

		{"a rule that names the port and cannot be decoded refuses", any4, in("PREROUTING -p tcp -m tcp --dport 80 -m frob --level 3 -j DNAT --to-destination 10.0.0.2"), "refuse 104", "cannot decode"},
		{"an unknown target with the port refuses", any4, in("PREROUTING -p tcp -m tcp --dport 80 -j FROB"), "refuse 104", "FROB"},
		{"a mark and the port refuse", any4, in("PREROUTING -m mark --mark 0x1 -j X", "X "+dnat), "refuse 104", ""},
		{"a mark from elsewhere warns", any4, in("PREROUTING -m mark --mark 0x1 -j DNAT --to-destination 10.0.0.2"), "warn 108", ""},
		{"any other mark is all there is to be expected", any4, in("PREROUTING -m mark ! --mark 0x1 -j DNAT --to-destination 10.0.0.2"), "refuse 103", ""},
		{"a mark of the node's processes and the port refuse", any4, in("OUTPUT -m mark --mark 0x1 -j X", "X "+dnat), "refuse 104", ""},
		{"an undecodable rule for another port does not", any4, in("PREROUTING -p tcp -m tcp --dport 81 -m frob -j FROB"), "", ""},
		{"an undecodable catch-all warns", any4, in("PREROUTING -m frob --level 3 -j DNAT --to-destination 10.0.0.2"), "warn 108", "a rule without a port may take some of its traffic"},
		{"an undecodable rule for all but a port is a catch-all", any4, in("PREROUTING -p tcp -m tcp ! --dport 22 -m frob --level 3 -j DNAT --to-destination 10.0.0.2"), "warn 108", ""},

		{"ACCEPT of everything hides the mapping", any4, in("PREROUTING -j ACCEPT"), "refuse 105", "a rule ends the walk before it"},
		{"ACCEPT behind our jump does not", any4, in(local+"PORTGUARD-HOSTPORTS", "PREROUTING -j ACCEPT", "PORTGUARD-HOSTPORTS -j RETURN"), "", ""},
		{"ACCEPT before our jump does", any4, in("PREROUTING -p tcp -j ACCEPT", local+"PORTGUARD-HOSTPORTS", "PORTGUARD-HOSTPORTS -j RETURN"), "refuse 105", ""},
		{"ACCEPT in another flavour does not", any4, elsewhere("PREROUTING -j ACCEPT"), "", ""},
		{"ACCEPT of one address hides part and warns", any4, in("PREROUTING -d 192.0.2.2/32 -j ACCEPT"), "warn 105", "does not work for everybody"},
		{"ACCEPT of the address asked for refuses", only, in("PREROUTING -d 192.0.2.1/32 -j ACCEPT"), "refuse 105", ""},
		{"ACCEPT of another address does not", only, in("PREROUTING -d 192.0.2.2/32 -j ACCEPT"), "", ""},
		{"ACCEPT of some sources warns", any4, in("PREROUTING -s 10.0.0.0/8 -j ACCEPT"), "warn 105", "does not work for everybody"},
		{"ACCEPT of the only way to a loopback address refuses", attach(mapTo(v4, "127.0.0.1")), in("OUTPUT -j ACCEPT"), "refuse 105", ""},
		{"ACCEPT in OUTPUT warns", any4, in("OUTPUT -j ACCEPT"), "warn 105", ""},
		{"ACCEPT before a DNAT takes the place of its conflict", any4, in("PREROUTING -j ACCEPT", "PREROUTING "+dnat), "refuse 105", ""},
		{"a hostIP of a Service in ipvs mode would not work", attach(mapTo(v4, "10.96.0.10")), node(), "refuse 105", "is the address of a Service (on kube-ipvs0)"},
	}
}

func serviceCases(t testing.TB) []findCase {
	kube := node().dump(t, v4, true, kubeProxy(t))
	at := func(s Snapshot, ip string) Snapshot {
		a := listens(tcp, ip, 1).Addr
		s.Local = append(s.Local[:len(s.Local):len(s.Local)], hostport.Local{Prefix: netip.PrefixFrom(a, a.BitLen())})
		return s
	}
	filter := func(rules ...string) Snapshot {
		return node().dump(t, v4, true, "*filter\n"+table(append([]string{"INPUT"}, rules...))+"COMMIT\n")
	}
	const reject = `KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "default/empty has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable`
	const jump = "INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES"
	return []findCase{
		{"a NodePort refuses", attach(mapPort(v4, "", tcp, 30080)), kube, "refuse 102", "hostPort 30080/tcp is taken: it is a NodePort of Service default/web:http; change"},
		{"a NodePort refuses an address", attach(mapPort(v4, nodeIP, tcp, 30080)), kube, "refuse 102", "default/web:http"},
		{"a udp NodePort refuses", attach(mapPort(v4, "", udp, 30080)), kube, "refuse 102", "default/web:udp"},
		{"a NodePort of another protocol does not", attach(mapPort(v4, "", hostport.SCTP, 30080)), kube, "", ""},
		{"a NodePort without endpoints refuses", attach(mapPort(v4, "", tcp, 30082)), kube, "refuse 102", "it is a NodePort of Service default/empty (without endpoints now)"},
		{"a free port beside kube-proxy is free", attach(mapPort(v4, "", tcp, 30084), mapTo(v4, "")), kube, "", ""},
		{"an external IP on the node warns", attach(mapTo(v4, "")), at(kube, "10.99.0.50"), "warn 106", "Service default/lb has the same port on the node address 10.99.0.50; there the Service wins"},
		{"a LoadBalancer IP on the node warns", attach(mapTo(v4, "10.99.0.60")), at(kube, "10.99.0.60"), "warn 106", ""},
		{"an external IP of another port does not", attach(mapPort(v4, "", tcp, 81)), at(kube, "10.99.0.50"), "", ""},
		{"a NodePort without endpoints is read from table filter", attach(mapTo(v4, "")), filter(jump, reject), "refuse 102", ""},
		{"its chain without a jump is a leftover", attach(mapTo(v4, "")), filter(reject), "", ""},
		{"an external IP without endpoints warns", attach(mapTo(v4, "")), filter(jump,
			`KUBE-EXTERNAL-SERVICES -d 192.0.2.1/32 -p tcp -m comment --comment "a/b has no endpoints" -m tcp --dport 80 -j REJECT`), "warn 106", "Service a/b has the node address 192.0.2.1"},
		{"a NodePort without a comment is one", attach(mapTo(v4, "")), node().rules(t, v4, true, "PREROUTING -j KUBE-NODEPORTS",
			"KUBE-NODEPORTS -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:1"), "refuse 102", "Service with an unknown name"},
	}
}

func TestRules(t *testing.T) { check(t, ruleCases(t)) }

func TestServices(t *testing.T) { check(t, serviceCases(t)) }

// A refusal is not hidden by warnings, however many there are: of the ways to one chain those of
// Services, and those of which nobody can tell whether they are met, say something else.
func TestWarningsHideNoRefusal(t *testing.T) {
	const half = "-p tcp -m statistic --mode random --probability 0.5 "
	for name, way := range map[string]string{
		"Services":           `KUBE-SERVICES -d 192.0.2.1/32 -p tcp -m comment --comment "a/b external IP" -m statistic --mode random --probability 0.5 -j X`,
		"what is undecided":  "KUBE-SERVICES -p tcp -m frob --level 3 -j X",
		"portmap of the pod": `CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"cbr0\" id: \"me\"" -m statistic --mode random --probability 0.5 -j X`,
	} {
		chain, _, _ := strings.Cut(way, " ")
		rules := []string{"PREROUTING -j " + chain}
		for range 40 {
			rules = append(rules, way)
		}
		rules = append(rules, "PREROUTING "+half+"-j X", "X "+half+"-j DNAT --to-destination 10.0.0.2")
		only := attach(mapTo(v4, nodeIP))
		if r, err := Find(only, node().rules(t, v4, true, rules...)); err != nil || len(r.Conflicts) == 0 || len(r.Warnings) == 0 {
			t.Errorf("%s: %s, %v", name, say(r), err)
		}
	}
}

// Rules that cannot be followed are an error, not a free port.
func TestFindFailsClosed(t *testing.T) {
	s := node().rules(t, v4, true, "PREROUTING -j X", "X -j X")
	if _, err := Find(attach(mapTo(v4, "")), s); !errors.Is(err, walk.ErrTooComplex) {
		t.Errorf("error is %v, want ErrTooComplex", err)
	}
	s = node().dump(t, v4, true, "*filter\n"+table([]string{"INPUT -j KUBE-EXTERNAL-SERVICES", "KUBE-EXTERNAL-SERVICES -j KUBE-EXTERNAL-SERVICES"})+"COMMIT\n")
	if _, err := Find(attach(mapTo(v4, "")), s); !errors.Is(err, walk.ErrTooComplex) {
		t.Errorf("table filter: error is %v, want ErrTooComplex", err)
	}
}

// Thousands of ports, each with a rule that may take it and a link-local listener:
// each finding and each carve is there once.
func TestFindManyPorts(t *testing.T) {
	s := node().rules(t, v4, true, "PREROUTING -p tcp -j FROB", "OUTPUT -p tcp -j FROB")
	var ms []hostport.Mapping
	for i := range 2000 {
		port := uint16(i + 1)
		ms = append(ms, mapPort(v4, "", tcp, port))
		s.Listeners = append(s.Listeners, hostport.Listener{Proto: tcp, Addr: netip.MustParseAddr("169.254.7.7"), Port: port})
	}
	r, err := Find(attach(ms...), s)
	if found := len(r.Conflicts) + len(r.Warnings); err != nil || found != 4000 || len(r.Carves) != 2000 || len(Messages(append(r.Conflicts, r.Warnings...))) != 4000 {
		t.Errorf("%d findings, %d carves, %v", found, len(r.Carves), err)
	}
}
