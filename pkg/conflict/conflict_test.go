// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
)

type findCase struct {
	name string
	a    hostport.Attachment
	s    Snapshot
	// want is in the words of say; says is in the first message.
	want, says string
}

// every holds all cases, for the check that each kind of finding occurs.
func every(t testing.TB) []findCase {
	return slices.Concat(socketCases(), claimCases(), ruleCases(t), serviceCases(t), programCases(), serverCases(t), policyCases(t))
}

func socketCases() []findCase {
	any4, any6 := attach(mapTo(v4, "")), attach(mapTo(v6, ""))
	only := attach(mapTo(v4, nodeIP))
	noLocal := attach(mapTo(v4, ""))
	noLocal.Localhost = false
	excluding := attach(mapTo(v4, ""))
	excluding.Excludes = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32")}
	v6only := listens(tcp, "::", 80)
	v6only.V6Only = true
	held := func(container, target string) hostport.Listener {
		l := listens(tcp, "0.0.0.0", 80)
		if l.Holder.Container = container; target != "" {
			l.Holder.Target = netip.MustParseAddrPort(target)
		}
		return l
	}
	mine := attach(mapTo(v4, ""))
	mine.Pods = []netip.Prefix{netip.MustParsePrefix("10.88.0.9/16")}
	ofPod := listens(tcp, "0.0.0.0", 80)
	ofPod.Holder.Pod = "pod default/web"
	nobody := listens(tcp, "0.0.0.0", 80)
	nobody.Holder = hostport.Process{}
	unsought := nobody
	unsought.Holder.Unsought = true
	dns := attach(mapPort(v4, "", udp, 53))
	bound := func(ip, link string) hostport.Listener {
		l := listens(tcp, ip, 80)
		l.Device = link
		return l
	}
	// virbr0 has index 7, and 192.0.2.1 is on eth0, index 2.
	bridged := func(ip string, link int, on ...int) Snapshot {
		l := bound(ip, "virbr0")
		l.Link = link
		s := node().with(l)
		s.Local = slices.DeleteFunc(slices.Clone(s.Local), func(l hostport.Local) bool { return l.Prefix.Addr() == only.Mappings[0].HostIP })
		for _, x := range on {
			s.Local = append(s.Local, hostport.Local{Prefix: netip.PrefixFrom(only.Mappings[0].HostIP, 32), Link: x})
		}
		return s
	}
	return []findCase{
		{"one on a link that rules know leaves an address of another one", only, bridged("0.0.0.0", 7, 2), "carve 192.0.2.1:80/tcp", ""},
		{"so does one of IPv6 and IPv4", only, bridged("::", 7, 2), "carve 192.0.2.1:80/tcp", ""},
		{"and one of that address", only, bridged(nodeIP, 7, 2), "carve 192.0.2.1:80/tcp", ""},
		{"not all addresses", any4, bridged("0.0.0.0", 7, 2), "refuse 100", "0.0.0.0%virbr0:80"},
		{"nor its own", only, bridged("0.0.0.0", 7, 7), "refuse 100", "0.0.0.0%virbr0:80"},
		{"nor one that is on both", only, bridged("0.0.0.0", 7, 2, 7), "refuse 100", ""},
		{"in any order", only, bridged("0.0.0.0", 7, 7, 2), "refuse 100", ""},
		{"nor one that is nowhere yet", only, bridged("0.0.0.0", 7), "refuse 100", ""},
		{"one on a link that rules do not know leaves none", only, bridged("0.0.0.0", 0, 2), "refuse 100", ""},
		{"an empty node has no conflict", attach(mapTo(v4, ""), mapTo(v6, "")), node(), "", ""},
		{"a request for nothing has none", attach(), node().with(listens(tcp, "::", 80)), "", ""},
		{"a wildcard listener refuses the wildcard", any4, node().with(listens(tcp, "0.0.0.0", 80)), "refuse 100",
			"hostPort 80/tcp is taken: nginx (pid 7) listens on 0.0.0.0:80; stop it or choose another hostPort"},
		{"a wildcard listener refuses an address", only, node().with(listens(tcp, "0.0.0.0", 80)), "refuse 100", "hostPort 192.0.2.1:80/tcp is taken: nginx (pid 7)"},
		{"a listener without a process is one", any4, node().with(nobody), "refuse 100", "no process found"},
		{"so is one whose process was not found in time", any4, node().with(unsought), "refuse 100", "not found in time"},
		{"a listener of a pod is named with it", any4, node().with(ofPod), "refuse 100", "nginx (pid 7, pod default/web) listens on"},
		{"the IPv6 wildcard listener receives IPv4", any4, node().with(listens(tcp, "::", 80)), "refuse 100", "[::]:80"},
		{"with V6ONLY it does not", any4, node().with(v6only), "", ""},
		{"with V6ONLY it refuses IPv6", any6, node().with(v6only), "refuse 100", "[::]:80"},
		{"an IPv4 listener does not receive IPv6", any6, node().with(listens(tcp, "0.0.0.0", 80)), "", ""},
		{"one listener refuses both families", attach(mapTo(v4, ""), mapTo(v6, "")), node().with(listens(tcp, "::", 80)), "refuse 100; refuse 100", ""},
		{"a listener on a node address refuses the wildcard", any4, node().with(listens(tcp, nodeIP, 80)), "refuse 100", nodeIP},
		{"a listener on an address nobody knows refuses the wildcard", any4, node().with(listens(tcp, "198.51.100.1", 80)), "refuse 100", ""},
		{"a listener on the same address refuses it", only, node().with(listens(tcp, nodeIP, 80)), "refuse 100", ""},
		{"a listener on another address does not", only, node().with(listens(tcp, other, 80)), "", ""},
		{"one that is bound to a link is named with it", any4, node().with(bound("0.0.0.0", "virbr0")), "refuse 100",
			"hostPort 80/tcp is taken: nginx (pid 7) listens on 0.0.0.0%virbr0:80; stop it or choose another hostPort"},
		{"it receives packets for any address by that link", only, node().with(bound("0.0.0.0", "virbr0")), "refuse 100",
			"nginx (pid 7) listens on 0.0.0.0%virbr0:80, which receives what comes in by virbr0 for any address of the node; stop it"},
		{"but none for 127.0.0.1", attach(mapTo(v4, "127.0.0.1")), node().with(bound("0.0.0.0", "virbr0")), "", ""},
		{"unless by lo", attach(mapTo(v4, "127.0.0.1")), node().with(bound("0.0.0.0", "lo")), "refuse 100", "0.0.0.0%lo:80"},
		{"by lo the node sends to its addresses too", only, node().with(bound("0.0.0.0", "lo")), "refuse 100", ""},
		{"one of another address takes nothing", only, node().with(bound(other, "virbr0")), "", ""},
		{"of IPv6 too", any6, node().with(bound("::", "eth0")), "refuse 100", "[::%eth0]:80"},
		{"another protocol is free", any4, node().with(listens(udp, "0.0.0.0", 80)), "", ""},
		{"another port is free", any4, node().with(listens(tcp, "0.0.0.0", 81)), "", ""},
		{"what a runtime holds for this container is ignored", any4, node().with(held("me", "")), "", ""},
		{"so is what it holds for this pod's port", mine, node().with(held("", "10.88.0.9:8080")), "", ""},
		{"for another port of it it is not", mine, node().with(held("", "10.88.0.9:80")), "refuse 100", ""},
		{"for another container it is not", mine, node().with(held("other", "10.88.0.10:8080")), "refuse 100", "nginx (pid 7) listens"},
		{"what it holds for the owner of the port says nothing new", any4, node().with(held("other", "")).claimed("other", false, mapTo(v4, "")), "refuse 101", "container other"},
		{"for a dead owner it does", any4, node().with(held("other", "")).claimed("other", true, mapTo(v4, "")), "refuse 100; take over 1", "nginx (pid 7) listens"},
		{"for the owner of another port it does", any4, node().with(held("other", "")).claimed("other", false, mapPort(v4, "", tcp, 81)), "refuse 100", "nginx (pid 7) listens"},
		{"a listener on an excluded address keeps it", excluding, node().with(listens(tcp, other, 80)), "", ""},
		{"two listeners are two conflicts", any4, node().with(listens(tcp, nodeIP, 80), listens(tcp, other, 80)), "refuse 100; refuse 100", ""},

		{"a listener on 127.0.0.1 is carved out", any4, node().with(listens(tcp, "127.0.0.1", 80)), "carve 127.0.0.1:80/tcp", ""},
		{"without localhost it needs no carve", noLocal, node().with(listens(tcp, "127.0.0.1", 80)), "", ""},
		{"a listener on 127.0.0.53 is never claimed", dns, node().with(listens(udp, "127.0.0.53", 53)), "", ""},
		{"a listener on ::1 is never claimed", any6, node().with(listens(tcp, "::1", 80)), "", ""},
		{"a listener on an IPv6 link-local address is never claimed", any6, node().with(listens(tcp, "fe80::1", 80)), "", ""},
		{"a listener on an IPv4 link-local address is carved out", any4, node().with(listens(tcp, "169.254.7.7", 80)), "carve 169.254.7.7:80/tcp", ""},
		{"a listener of the node-local cache keeps its address", dns, node().with(listens(udp, "169.254.20.10", 53)), "", ""},
		{"a listener on a Service's address keeps it", any4, node().with(listens(tcp, "10.96.0.10", 80)), "", ""},
		{"a carve is made once", any4, node().with(listens(tcp, "127.0.0.1", 80), listens(tcp, "127.0.0.1", 80)), "carve 127.0.0.1:80/tcp", ""},
		{"a listener on the loopback address asked for refuses", attach(mapTo(v4, "127.0.0.1")), node().with(listens(tcp, "127.0.0.1", 80)), "refuse 100", ""},
		{"a listener of the node-local cache refuses its address", attach(mapPort(v4, "169.254.20.10", udp, 53)), node().with(listens(udp, "169.254.20.10", 53)), "refuse 100; refuse 105", "listens on 169.254.20.10:53"},
		{"a carve does not hide another listener", any4, node().with(listens(tcp, "127.0.0.1", 80), listens(tcp, nodeIP, 80)), "refuse 100; carve 127.0.0.1:80/tcp", ""},

		{"a multicast listener is never in the way", dns, node().with(listens(udp, "224.0.0.251", 53)), "", ""},
		{"nor is a broadcast listener", dns, node().with(listens(udp, "192.0.2.255", 53)), "", ""},
		{"nor is one of whatever network", dns, node().with(listens(udp, "255.255.255.255", 53)), "", ""},
		{"udp below the ephemeral range refuses", dns, node().with(listens(udp, "0.0.0.0", 53)), "refuse 100", ""},
		{"udp in the ephemeral range warns", attach(mapPort(v4, "", udp, 40000)), node().with(listens(udp, "0.0.0.0", 40000)), "warn 107", "ip_local_port_range (32768-60999)"},
		{"a socket of the kernel's refuses there too", attach(mapPort(v4, "", udp, 40000)), node().with(kernels(udp, "0.0.0.0", 40000, "")), "refuse 100", "no process found"},
		{"that of a tunnel is named", attach(mapPort(v4, "", udp, 51820)), node().with(kernels(udp, "0.0.0.0", 51820, "vxlan flannel.1")), "refuse 100", "hostPort 51820/udp is taken: the kernel's own vxlan flannel.1 listens on 0.0.0.0:51820; give that link another port or choose another hostPort"},
		{"a reserved port is no mere client's", attach(mapPort(v4, "", udp, 40001)), reserved(node(), 40001).with(listens(udp, "0.0.0.0", 40001)), "refuse 100", ""},
		{"the range holds its first port", attach(mapPort(v4, "", udp, 32768)), node().with(listens(udp, "0.0.0.0", 32768)), "warn 107", ""},
		{"the range holds its last port", attach(mapPort(v4, nodeIP, udp, 60999)), node().with(listens(udp, nodeIP, 60999)), "warn 107", ""},
		{"udp above the range refuses", attach(mapPort(v4, "", udp, 61000)), node().with(listens(udp, "0.0.0.0", 61000)), "refuse 100", ""},
		{"tcp in the range refuses", attach(mapPort(v4, "", tcp, 40000)), node().with(listens(tcp, "0.0.0.0", 40000)), "refuse 100", ""},
		{"sctp refuses", attach(mapPort(v4, "", hostport.SCTP, 40000)), node().with(listens(hostport.SCTP, "0.0.0.0", 40000)), "refuse 100", ""},
	}
}

func claimCases() []findCase {
	any4, only := attach(mapTo(v4, "")), attach(mapTo(v4, nodeIP))
	web := hostport.Owner{Network: "n", ContainerID: "earlier", IfName: "eth0", PodNamespace: "default", PodName: "web"}
	again := any4
	again.Owner.PodNamespace, again.Owner.PodName = web.PodNamespace, web.PodName
	return []findCase{
		{"a live owner refuses", any4, node().claimed("x", false, mapTo(v4, "")), "refuse 101",
			"hostPort 80/tcp is taken: container x (network n, eth0) has hostPort 80/tcp; delete it or choose another hostPort"},
		{"a live wildcard refuses an address", only, node().claimed("x", false, mapTo(v4, "")), "refuse 101", ""},
		{"a live address refuses the wildcard", any4, node().claimed("x", false, mapTo(v4, nodeIP)), "refuse 101", "has hostPort 192.0.2.1:80/tcp"},
		{"a live owner of another address does not", only, node().claimed("x", false, mapTo(v4, other)), "", ""},
		{"a live owner of another family does not", any4, node().claimed("x", false, mapTo(v6, "")), "", ""},
		{"a live owner of another protocol does not", any4, node().claimed("x", false, mapPort(v4, "", udp, 80)), "", ""},
		{"a live owner of another port does not", any4, node().claimed("x", false, mapPort(v4, "", tcp, 81)), "", ""},
		{"a dead owner is taken over", any4, node().claimed("x", true, mapTo(v4, "")), "take over 1", ""},
		{"a dead owner of two ports is taken over once", attach(mapTo(v4, ""), mapTo(v6, "")), node().claimed("x", true, mapTo(v4, "")).claimed("x", true, mapTo(v6, "")), "take over 1", ""},
		{"a dead owner elsewhere stays", only, node().claimed("x", true, mapTo(v4, other)), "", ""},
		{"a dead owner does not excuse a live one", any4, node().claimed("x", true, mapTo(v4, nodeIP)).claimed("y", false, mapTo(v4, other)), "refuse 101; take over 1", ""},
		{"another interface of the container keeps it", any4, node().claimedBy(hostport.Owner{Network: "n1", ContainerID: "me", IfName: "eth1"}, false, mapTo(v4, "")), "warn 101",
			"hostPort 80/tcp stays with eth1 (network n1) of the same container, which has hostPort 80/tcp; eth0 takes over when that goes"},
		{"one of before a reboot does not", any4, node().claimedBy(hostport.Owner{Network: "n1", ContainerID: "me", IfName: "eth1"}, true, mapTo(v4, "")), "take over 1", ""},
		{"nobody's container is not another nobody's", hostport.Attachment{Mappings: any4.Mappings}, node().claimedBy(hostport.Owner{IfName: "eth9"}, false, mapTo(v4, "")), "refuse 101", ""},
		{"an owner of which nobody can tell refuses", any4, node().claim(hostport.Claim{Owner: web, Life: hostport.Unknown, Unsure: "the processes of the node are not seen from here"}), "refuse 101", "nobody can tell from here whether it lives"},
		{"an earlier sandbox of the pod is called that", again, node().claim(hostport.Claim{Owner: web}), "refuse 101", "an earlier sandbox of this pod"},
		{"an owner whose rules are gone refuses", any4, node().claim(hostport.Claim{Owner: web, Lost: true}), "refuse 101", "portguard restore"},
		{"and one that lacks some rules", any4, node().claim(hostport.Claim{Owner: web, Cut: hostport.CutIn}), "refuse 101", "some of its rules are gone (portguard restore"},
		{"a dead one whose rules are gone is taken over", any4, node().claim(hostport.Claim{Owner: web, Lost: true, Life: hostport.Dead}), "take over 1", ""},
		{"the same owner is replaced", any4, node().claimed("me", false, mapTo(v4, "")), "", ""},
		{"the most telling conflict comes first", any4, node().claimed("x", false, mapTo(v4, "")).with(listens(tcp, "::", 80)), "refuse 100; refuse 101", "listens on"},
	}
}

func check(t *testing.T, cases []findCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Find(tt.a, tt.s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, say(r)); diff != "" {
				t.Errorf("(-want +got)\n%s\n%+v", diff, r)
			}
			all := append(r.Conflicts, r.Warnings...)
			for _, f := range all {
				if strings.ContainsAny(f.Message, "\n\r") {
					t.Errorf("message has two lines: %q", f.Message)
				}
			}
			if tt.says != "" && (len(all) == 0 || !strings.Contains(all[0].Message, tt.says)) {
				t.Errorf("first message lacks %q: %+v", tt.says, all)
			}
		})
	}
}

// What connected UDP sockets receive is left to them where a mapping has their port and
// address, and nobody is refused for it.
func TestFlows(t *testing.T) {
	s := node()
	flow := func(local, peer string) hostport.Flow {
		return hostport.Flow{Local: netip.MustParseAddrPort(local), Peer: netip.MustParseAddrPort(peer)}
	}
	s.Flows = []hostport.Flow{flow("192.0.2.1:53", "192.0.2.9:9"), flow("192.0.2.2:53", "192.0.2.9:9"), flow("127.0.0.1:53", "127.0.0.1:9"), flow("192.0.2.1:54", "192.0.2.9:9"), flow("[2001:db8::1]:53", "[2001:db8::9]:9")}
	for _, tt := range []struct {
		name string
		a    hostport.Attachment
		want []hostport.Flow
	}{
		{"all addresses", attach(mapPort(v4, "", udp, 53), mapPort(v6, "", udp, 53)), []hostport.Flow{s.Flows[0], s.Flows[1], s.Flows[2], s.Flows[4]}},
		{"one address", attach(mapPort(v4, nodeIP, udp, 53)), s.Flows[:1]},
		{"both", attach(mapPort(v4, nodeIP, udp, 53), mapPort(v4, "", udp, 53)), s.Flows[:3]},
		{"another protocol", attach(mapPort(v4, "", tcp, 53)), nil},
	} {
		r, err := Find(tt.a, s)
		if err != nil || !slices.Equal(r.Flows, tt.want) || len(r.Conflicts)+len(r.Warnings) > 0 {
			t.Errorf("%s: %v, %+v", tt.name, err, r)
		}
	}
}

func TestListeners(t *testing.T) { check(t, socketCases()) }

func TestClaims(t *testing.T) { check(t, claimCases()) }

func TestTakeOverNamesTheKey(t *testing.T) {
	s := node().claimed("x", true, mapTo(v4, ""))
	r, err := Find(attach(mapTo(v4, "")), s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{s.Claims[0].Key}, r.TakeOver); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Each kind is produced by some case: a constant that nothing produces would
// be a promise that nothing keeps.
func TestEveryKindOccurs(t *testing.T) {
	seen := map[finding.Kind]bool{}
	for _, tt := range every(t) {
		r, err := Find(tt.a, tt.s)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		for _, f := range append(r.Conflicts, r.Warnings...) {
			seen[f.Kind] = true
		}
	}
	for _, f := range Protected([]hostport.Mapping{mapTo(v4, "")}, []hostport.Ports{{From: 80, To: 80}}, "net") {
		seen[f.Kind] = true
	}
	want := map[finding.Kind]bool{}
	for _, row := range finding.Table() {
		want[row.Kind] = true
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A protected port is refused once, by the entry that names it, whatever the address.
func TestProtected(t *testing.T) {
	ports := []hostport.Ports{{From: 53, To: 53, Proto: udp}, {From: 79, To: 81, Proto: hostport.TCP}, {From: 80, To: 80}}
	found := Protected([]hostport.Mapping{mapTo(v4, ""), mapTo(v6, ""), mapTo(v4, "192.0.2.1"), mapPort(v4, "", hostport.TCP, 53)}, ports, "net")
	want := []string{
		"hostPort 80/tcp is protected by protectedPorts (79-81/tcp) of network net; choose another hostPort",
		"hostPort 192.0.2.1:80/tcp is protected by protectedPorts (79-81/tcp) of network net; choose another hostPort",
	}
	if diff := cmp.Diff(want, Messages(found)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if found := Protected([]hostport.Mapping{mapTo(v4, "")}, nil, "net"); len(found) > 0 {
		t.Errorf("without the key: %v", found)
	}
}

// Only where live pods of portguard's are all that is in the way may waiting help.
func TestAwaited(t *testing.T) {
	web := hostport.Owner{ContainerID: "web", IfName: "eth0"}
	for _, tt := range []struct {
		name string
		s    Snapshot
		want []hostport.Key
	}{
		{"nobody", node(), nil},
		{"a live pod", node().claim(hostport.Claim{Owner: web}), []hostport.Key{web.Key()}},
		{"a dead one", node().claim(hostport.Claim{Owner: web, Life: hostport.Dead}), nil},
		{"one of which nobody can tell", node().claim(hostport.Claim{Owner: web, Life: hostport.Unknown}), nil},
		{"a listener too", node().claim(hostport.Claim{Owner: web}).with(listens(tcp, "0.0.0.0", 80)), nil},
		{"a listener", node().with(listens(tcp, "0.0.0.0", 80)), nil},
	} {
		r, err := Find(attach(mapTo(v4, "")), tt.s)
		if diff := cmp.Diff(tt.want, r.Awaited()); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", tt.name, err, diff)
		}
	}
}

// What comes in by the link of a listener is left to it, for the mapping of that address only.
func TestCarveOfALink(t *testing.T) {
	s := node().with(hostport.Listener{Proto: tcp, Addr: netip.IPv4Unspecified(), Port: 80, Device: "virbr0", Link: 7, Holder: hostport.Process{PID: 7, Comm: "dnsmasq"}})
	for i := range s.Local {
		s.Local[i].Link = 2
	}
	r, err := Find(attach(mapTo(v4, nodeIP), mapTo(v4, other), mapPort(v4, nodeIP, udp, 80)), s)
	want := []hostport.Carve{{Addr: netip.MustParseAddr(nodeIP), Proto: tcp, Port: 80, Link: "virbr0"}, {Addr: netip.MustParseAddr(other), Proto: tcp, Port: 80, Link: "virbr0"}}
	if err != nil || len(r.Conflicts)+len(r.Warnings) > 0 || !slices.Equal(r.Carves, want) {
		t.Errorf("%v, %+v", err, r)
	}
	if len(r.Beside) != 2 || r.Beside[0].By != "virbr0" || !strings.Contains(r.Beside[0].Message, "leaves this alone: dnsmasq (pid 7) listens on 0.0.0.0%virbr0:80, and receives what comes in by virbr0") {
		t.Errorf("beside: %+v", r.Beside)
	}
}
