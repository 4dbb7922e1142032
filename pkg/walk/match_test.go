// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Each case is asked for a tcp packet to 192.0.2.1:80 (2001:db8::1 where the
// rule is of IPv6), in PREROUTING and in OUTPUT.
func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		name, rule  string
		pre, output Tri
	}{
		{"no match at all takes everything", "", Yes, Yes},
		{"the protocol matches", "-p tcp", Yes, Yes},
		{"the protocol matches by number", "-p 6", Yes, Yes},
		{"every protocol matches", "-p all", Yes, Yes},
		{"another protocol does not", "-p udp", No, No},
		{"a protocol of no ports does not", "-p icmp", No, No},
		{"the negated protocol does not", "! -p tcp", No, No},
		{"another negated protocol does", "! -p udp", Yes, Yes},

		{"the port matches", "-p tcp -m tcp --dport 80", Yes, Yes},
		{"another port does not", "-p tcp -m tcp --dport 81", No, No},
		{"the negated port does not", "-p tcp -m tcp ! --dport 80", No, No},
		{"another negated port does", "-p tcp -m tcp ! --dport 22", Yes, Yes},
		{"a range holds its ends", "-p tcp -m tcp --dport 80:90", Yes, Yes},
		{"a range holds its upper end", "-p tcp -m tcp --dport 70:80", Yes, Yes},
		{"a range ends", "-p tcp -m tcp --dport 70:79", No, No},
		{"a range may be open below", "-p tcp -m tcp --dport :80", Yes, Yes},
		{"a range may be open above", "-p tcp -m tcp --dport 80:", Yes, Yes},
		{"a negated range holds the others", "-p tcp -m tcp ! --dport 1:79", Yes, Yes},
		{"a source port is free", "-p tcp -m tcp --sport 1024", Some, Some},
		{"first packets have SYN", "-p tcp -m tcp --tcp-flags SYN,RST SYN", Yes, Yes},
		{"and no other flag", "-p tcp -m tcp --tcp-flags FIN,ACK NONE", Yes, Yes},
		{"those that have not may well not exist", "-p tcp -m tcp ! --syn", Unknown, Unknown},
		{"nor do those with both", "-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK", Unknown, Unknown},
		{"nor with none", "-p tcp -m tcp --tcp-flags ALL NONE", Unknown, Unknown},
		{"a module alone restricts nothing", "-p tcp -m tcp", Yes, Yes},

		{"multiport lists hold the port", "-p tcp -m multiport --dports 22,80,443", Yes, Yes},
		{"multiport lists hold ranges", "-p tcp -m multiport --dports 22,70:90", Yes, Yes},
		{"multiport lists end", "-p tcp -m multiport --dports 22,443,81:90", No, No},
		{"a negated multiport list holds the others", "-p tcp -m multiport ! --dports 22,443", Yes, Yes},
		{"a negated multiport list with the port", "-p tcp -m multiport ! --dports 22,80", No, No},
		{"multiport of either port with ours", "-p tcp -m multiport --ports 80", Yes, Yes},
		{"multiport of either port depends on the source", "-p tcp -m multiport --ports 22", Some, Some},
		{"the negation of either port with ours", "-p tcp -m multiport ! --ports 80", No, No},
		{"the negation of either port depends on the source", "-p tcp -m multiport ! --ports 22", Some, Some},
		{"multiport source ports are free", "-p tcp -m multiport --sports 1,2", Some, Some},

		{"the address matches", "-d 192.0.2.1/32", Yes, Yes},
		{"the address without a mask matches", "-d 192.0.2.1", Yes, Yes},
		{"its network matches", "-d 192.0.2.0/24", Yes, Yes},
		{"a network with a dotted mask matches", "-d 192.0.2.0/255.255.255.0", Yes, Yes},
		{"host bits in the network do not matter", "-d 192.0.2.77/24", Yes, Yes},
		{"another address does not", "-d 192.0.2.2/32", No, No},
		{"the negated address does not", "! -d 192.0.2.1/32", No, No},
		{"the negated network does not", "! -d 192.0.2.0/24", No, No},
		{"another negated network does", "! -d 127.0.0.0/8", Yes, Yes},
		{"a mask with holes matches", "-d 192.0.0.1/255.0.0.255", Yes, Yes},
		{"a negated mask with holes does not", "! -d 192.0.0.1/255.0.0.255", No, No},
		{"a source is free", "-s 10.0.0.0/8", Some, Some},
		{"a negated source is free", "! -s 10.0.0.0/8", Some, Some},
		{"all of the first network but one address is free", "-s 0.0.0.0/8", Some, Some},
		{"nothing comes from the unspecified address", "-s 0.0.0.0/32", No, No},
		{"every source is every packet", "-s 0.0.0.0/0", Yes, Yes},
		{"no source is no packet", "! -s 0.0.0.0/0", No, No},

		{"an interface is free from outside", "-i eth0", Some, No},
		{"a negated interface is free from outside", "! -i docker0", Some, Yes},
		{"every interface is every packet", "-i +", Yes, Yes},
		{"what comes through lo is not new", "-i lo", No, No},
		{"all but lo is everything", "! -i lo", Yes, Yes},
		{"local packets leave through lo", "-o lo", No, Yes},
		{"local packets leave through lo's prefix", "-o l+", No, Yes},
		{"local packets leave through no other", "-o eth0", No, No},
		{"they do leave through not another", "! -o eth0", Yes, Yes},
		{"all but lo takes none of them", "! -o lo", Yes, No},

		{"a local destination matches", "-m addrtype --dst-type LOCAL", Yes, Yes},
		{"one of some types matches", "-m addrtype --dst-type BROADCAST,LOCAL", Yes, Yes},
		{"another type does not", "-m addrtype --dst-type UNICAST", No, No},
		{"the negated type does not", "-m addrtype ! --dst-type LOCAL", No, No},
		{"what is limited to an interface is free", "-m addrtype --dst-type LOCAL --limit-iface-in", Some, Some},
		{"its negation too", "-m addrtype ! --dst-type LOCAL --limit-iface-in", Some, Some},
		{"IPv6 UNICAST is a property of the address", "-d 2001:db8::/32 -m addrtype --dst-type UNICAST", Yes, Yes},
		{"IPv6 MULTICAST as well", "-d 2001:db8::/32 -m addrtype --dst-type MULTICAST,LOCAL", No, No},
		{"IPv6 LOCAL is looked up", "-d 2001:db8::/32 -m addrtype ! --dst-type LOCAL", No, No},
		{"IPv6 LOCAL or another type that is looked up", "-d 2001:db8::/32 -m addrtype --dst-type LOCAL,ANYCAST", Yes, Yes},
		{"that and one that does not hold", "-d 2001:db8::/32 -m addrtype --dst-type LOCAL,ANYCAST,MULTICAST", No, No},
		{"IPv6 ANYCAST is free", "-d 2001:db8::/32 -m addrtype --dst-type ANYCAST", Some, Some},
		{"other IPv6 types are not understood", "-d 2001:db8::/32 -m addrtype --dst-type BLACKHOLE", Unknown, Unknown},
		{"the source's type is free", "-m addrtype --src-type LOCAL", Some, Some},
		{"the negated source's type is free", "-m addrtype ! --src-type LOCAL", Some, Some},

		{"a new connection matches", "-m conntrack --ctstate NEW", Yes, Yes},
		{"a new or related one matches", "-m conntrack --ctstate RELATED,NEW", Yes, Yes},
		{"an established one does not", "-m conntrack --ctstate ESTABLISHED", No, No},
		{"a translated one does not", "-m conntrack --ctstate DNAT", No, No},
		{"a related one does not", "-m conntrack --ctstate RELATED,ESTABLISHED", No, No},
		{"the negated new does not", "-m conntrack ! --ctstate NEW", No, No},
		{"not established does", "-m conntrack ! --ctstate ESTABLISHED", Yes, Yes},
		{"the old module matches", "-m state --state NEW", Yes, Yes},
		{"the original destination is the packet's", "-m conntrack --ctorigdst 192.0.2.1", Yes, Yes},
		{"another original destination is not", "-m conntrack --ctorigdst 192.0.2.2", No, No},
		{"the original port is the packet's", "-m conntrack --ctorigdstport 80", Yes, Yes},
		{"another original port is not", "-m conntrack --ctorigdstport 81", No, No},
		{"the connection's protocol matches", "-m conntrack --ctproto 6", Yes, Yes},
		{"the connection's source is free", "-m conntrack --ctorigsrc 10.0.0.1", Some, Some},
		{"the original direction matches", "-m conntrack --ctdir ORIGINAL", Yes, Yes},
		{"the reply's direction does not", "-m conntrack --ctdir REPLY", No, No},
		{"a new connection has no status", "-m conntrack --ctstatus ASSURED", No, No},

		{"a range of addresses holds its ends", "-m iprange --dst-range 192.0.2.1-192.0.2.9", Yes, Yes},
		{"a range of addresses ends", "-m iprange --dst-range 192.0.2.2-192.0.2.9", No, No},
		{"a negated range of addresses", "-m iprange ! --dst-range 192.0.2.2-192.0.2.9", Yes, Yes},
		{"a range of sources is free", "-m iprange --src-range 10.0.0.1-10.0.0.9", Some, Some},
		{"a broken range is not understood", "-m iprange --dst-range 192.0.2.1", Unknown, Unknown},

		{"every length is every packet", "-m length --length 0:65535", Yes, Yes},
		{"and no other", "-m length ! --length 0:65535", No, No},
		{"no packet is so short", "-m length --length 0:27", No, No},
		{"a length is free", "-m length --length 0:100", Some, Some},
		{"packets have a hop left", "-m ttl --ttl-gt 0", Yes, Yes},
		{"or more", "-m ttl --ttl-gt 1", Some, Some},
		{"but not none", "-m ttl --ttl-lt 1", No, No},
		{"none but not none", "-m ttl ! --ttl-eq 0", Yes, Yes},
		{"some number of hops", "-m ttl --ttl-eq 64", Some, Some},
		{"one of IPv6", "-d 2001:db8::1/128 -m hl --hl-gt 0", Yes, Yes},
		{"no packet of IPv6 is so short", "-d 2001:db8::1/128 -m length --length 0:47", No, No},

		{"chance is free", "-m statistic --mode random --probability 0.5", Some, Some},
		{"a share of the sources is free", "-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 1", Some, Some},
		{"a rate is free", "-m rateest --rateest r --rateest-lt --rateest-bps 1mbit", Some, Some},
		{"a limit is free", "-m limit --limit 5/min", Some, Some},
		{"a comment matches", `-m comment --comment "-p udp"`, Yes, Yes},
		{"a mark may be from elsewhere", "-m mark --mark 0x1/0x1", Unknown, Unknown},
		{"a negated mark is what is to be expected", "-m mark ! --mark 0x1/0x1", Yes, Yes},
		{"a set is not understood", "-m set --match-set S dst", Unknown, Unknown},
		{"a module nobody knows is not understood", "-m frobnicate", Unknown, Unknown},
		{"nor are its options", "-m frobnicate ! --level 3", Unknown, Unknown},
		{"nobody listens, so there is no socket", "-m socket --transparent", No, Some},
		{"No beats Unknown", "-m frobnicate -p udp", No, No},
		{"Unknown beats Some", "-s 10.0.0.0/8 -m frob --level 3 -p tcp", Unknown, Unknown},

		{"the IPv6 address matches", "-d 2001:db8::1/128", Yes, Yes},
		{"the IPv6 network matches", "-d 2001:db8::/32", Yes, Yes},
		{"the IPv6 mask matches", "-d 2001:db8::/ffff:ffff::", Yes, Yes},
		{"another IPv6 network does not", "-d fd00::/8", No, No},
		{"another negated IPv6 network does", "! -d fd00::/8", Yes, Yes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst := "192.0.2.1"
			if o, ok := (iptsave.Rule{Text: tt.rule}).Spec().Option("-d"); ok && len(o.Value()) > 2 && o.Value()[:2] != "12" && o.Value()[:2] != "19" {
				dst = "2001:db8::1"
			}
			if got := answer(t, tt.rule, packet(Prerouting, dst, 80)); got != tt.pre {
				t.Errorf("PREROUTING: got %v, want %v", got, tt.pre)
			}
			if got := answer(t, tt.rule, packet(Output, dst, 80)); got != tt.output {
				t.Errorf("OUTPUT: got %v, want %v", got, tt.output)
			}
		})
	}
}

// answer asks one rule.
func answer(t testing.TB, rule string, p Packet) Tri {
	t.Helper()
	src := nat(t, p.Family(), "PREROUTING "+rule+" -j DNAT")
	r, err := New(src, natTable(p.Family()), p.Family(), Options{}).Walk("PREROUTING", p)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.NAT) == 0 {
		return No
	}
	return r.NAT[0].Match
}

func TestMatchOtherProtocols(t *testing.T) {
	for _, tt := range []struct {
		name, rule string
		proto      hostport.Proto
		want       Tri
	}{
		{"udp has ports", "-p udp -m udp --dport 80", hostport.UDP, Yes},
		{"sctp has ports", "-p sctp -m sctp --dport 80", hostport.SCTP, Yes},
		{"sctp by number", "-p 132 -m sctp --dport 81", hostport.SCTP, No},
		{"tcp is not udp", "-p tcp -m tcp --dport 80", hostport.UDP, No},
		{"chunk types are free", "-p sctp -m sctp --chunk-types any INIT", hostport.SCTP, Some},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := packet(Prerouting, "192.0.2.1", 80)
			p.Proto = tt.proto
			if got := answer(t, tt.rule, p); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// Where the packets would leave is unknown while the address is elsewhere.
func TestMatchAbsentAddress(t *testing.T) {
	for rule, want := range map[string]Tri{"-o lo": Some, "-o eth0": Some, "! -o lo": Some, "-o +": Yes, "-m addrtype --dst-type LOCAL": Yes} {
		p := packet(Output, "192.0.2.1", 80)
		p.Absent = true
		if got := answer(t, rule, p); got != want {
			t.Errorf("%s: got %v, want %v", rule, got, want)
		}
	}
}
