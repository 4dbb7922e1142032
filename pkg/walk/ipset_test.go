// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
)

// ipsets are sets by name: the type, then the members "port", "ip" or "ip,port". Tables
// tell their indexes.
type ipsets struct {
	*xtrule.Tables
	members map[string][]string
	err     error
}

var _ Sets = ipsets{}

func (s ipsets) SetType(name string) (string, error) {
	if m, ok := s.members[name]; ok {
		return m[0], s.err
	}
	return "", s.err
}

func (s ipsets) SetHas(name, typ string, a netip.Addr, _ hostport.Proto, port uint16) (bool, error) {
	member := map[string]string{"bitmap:port": fmt.Sprint(port), "hash:ip": a.String(), "hash:ip,port": fmt.Sprintf("%s,%d", a, port)}[typ]
	return slices.Contains(s.members[name][1:], member), s.err
}

// SetExpires reports it of sets that are named so.
func (s ipsets) SetExpires(name string) (bool, error) {
	return strings.HasPrefix(name, "fading"), s.err
}

// SetMembers lists sets that are not long; of one with a port the last dimension is it.
func (s ipsets) SetMembers(name string) (out []hostport.Member, whole bool, err error) {
	for _, text := range s.members[name][1:] {
		m := hostport.Member{}
		if s.members[name][0] == "list:set" {
			m.Set = text
		} else {
			text, m.Except = strings.CutSuffix(text, " nomatch")
			parts := append(strings.Split(text, ","), "", "")
			n, _ := strconv.Atoi(parts[1])
			m.Addrs, m.Proto, m.Port = net(parts[0]), hostport.TCP, uint16(n)
			if parts[2] != "" {
				m.Addrs2 = one(parts[2])
			}
			if strings.HasPrefix(parts[1], "eth") {
				m.Link = parts[1]
			}
		}
		out = append(out, m)
	}
	return out, name != "LONG", s.err
}

// net reads an address or a prefix.
func net(text string) addrset.Set {
	if p, err := netip.ParsePrefix(text); err == nil {
		return addrset.Of(p)
	}
	return one(text)
}

func overSets(t *testing.T, err error, rules ...string) (*Walker, Packet) {
	t.Helper()
	src := nat(t, hostport.IPv4, rules...)
	sets := ipsets{src, map[string][]string{
		"PORTS": {"bitmap:port", "80"}, "OTHERS": {"bitmap:port", "81"}, "NODES": {"hash:ip", "192.0.2.1"}, "NONE": {"hash:ip"},
		"PAIRS": {"hash:ip,port", "192.0.2.2,80"}, "ODD": {"hash:ip,mark,ip", ""},
		"ANY": {"hash:ip", "10.0.0.1"}, "LONG": {"hash:ip", "10.0.0.1"}, "BUT": {"hash:net", "10.0.0.0/8", "10.1.0.0/16 nomatch", "10.1.1.0/24"}, "FROM": {"hash:ip,port", "10.0.0.1,80", "10.0.0.2,81"},
		"THREE": {"hash:ip,port,ip", "192.0.2.1,80,10.0.0.1", "192.0.2.2,80,10.0.0.2", "192.0.2.2,81,10.0.0.1"}, "LINKS": {"hash:net,iface", "10.0.0.1,eth1"},
		"LIST": {"list:set", "NODES", "NONE", "PAIRS"}, "EVERY": {"list:set", "NODES", "PORTS"}, "ODDS": {"list:set", "NODES", "LONG"}, "EMPTY": {"list:set"},
		"fading": {"hash:ip", "192.0.2.1"}, "fading none": {"hash:ip"}, "FADING": {"list:set", "fading"},
	}, err}
	p := packet(Prerouting, "192.0.2.1", 80)
	p.Dst = p.Dst.Or(one("192.0.2.2"))
	return New(src, natTable(hostport.IPv4), hostport.IPv4, Options{Sets: sets}), p
}

// Members of ipsets are asked for: before a DNAT they may end the walk.
func TestIPSets(t *testing.T) {
	for match, want := range map[string]string{
		"PORTS dst":       "end yes accept: 192.0.2.1-192.0.2.2",
		"OTHERS dst":      "yes DNAT: 192.0.2.1-192.0.2.2",
		"NODES dst":       "yes DNAT: 192.0.2.2; end some accept: 192.0.2.1",
		"NONE dst":        "yes DNAT: 192.0.2.1-192.0.2.2",
		"PAIRS dst,dst":   "yes DNAT: 192.0.2.1; end some accept: 192.0.2.2",
		"PAIRS dst,src":   "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"PAIRS dst":       "yes DNAT: 192.0.2.1-192.0.2.2",
		"! PAIRS src":     "end yes accept: 192.0.2.1-192.0.2.2",
		"NODES dst,src":   "yes DNAT: 192.0.2.2; end some accept: 192.0.2.1",
		"ODD dst,dst,dst": "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"GONE dst":        "yes DNAT: 192.0.2.1-192.0.2.2; end unknown accept: 192.0.2.1-192.0.2.2",
		"! PORTS dst":     "yes DNAT: 192.0.2.1-192.0.2.2",
		"! OTHERS dst":    "end yes accept: 192.0.2.1-192.0.2.2",
		"! NODES dst":     "yes DNAT: 192.0.2.1; end some accept: 192.0.2.2",
		"! PAIRS dst,src": "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"ANY src":         "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"NONE src":        "yes DNAT: 192.0.2.1-192.0.2.2",
		"! NONE src":      "end yes accept: 192.0.2.1-192.0.2.2",
		"FROM src,dst":    "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"LIST dst":        "yes DNAT: 192.0.2.2; end some accept: 192.0.2.1",
		"! LIST dst":      "yes DNAT: 192.0.2.1; end some accept: 192.0.2.2",
		"LIST src":        "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"EVERY dst":       "end yes accept: 192.0.2.1-192.0.2.2",
		"EMPTY dst":       "yes DNAT: 192.0.2.1-192.0.2.2",
		"fading dst":      "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"FADING dst":      "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",

		"NODES dst --counters":  "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1",
		"NONE dst --counters":   "yes DNAT: 192.0.2.1-192.0.2.2",
		"OTHERS dst --counters": "yes DNAT: 192.0.2.1-192.0.2.2",
		"! NONE dst --counters": "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",

		"BUT src --return-nomatch":    "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"! NONE src --return-nomatch": "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
	} {
		not := ""
		if match[0] == '!' {
			not, match = "! ", match[2:]
		}
		w, p := overSets(t, nil, "PREROUTING -p tcp -m set "+not+"--match-set "+match+" -j ACCEPT", "PREROUTING -j DNAT --to-destination 10.0.0.1")
		r, err := w.Walk("PREROUTING", p)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, list := range [][]Path{r.NAT, r.End} {
			for _, path := range list {
				if got != "" {
					got += "; "
				}
				if path.Last().Target == "accept" {
					got += "end "
				}
				got += fmt.Sprintf("%s %s: %s", path.Match, path.Last().Target, joined(path.Dst))
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s%s (-want +got)\n%s", not, match, d)
		}
	}
}

// Sets of sources are listed: of two rules the second is for those that the first leaves.
func TestIPSetsOfSources(t *testing.T) {
	for rules, want := range map[[2]string]Tri{
		{"-s 10.0.0.1", "! ANY src"}:                        No,
		{"-s 10.0.0.1", "ANY src"}:                          Yes,
		{"-s 10.0.0.2", "ANY src"}:                          No,
		{"-s 10.0.0.1", "FROM src,dst"}:                     Yes,
		{"-s 10.0.0.2", "FROM src,dst"}:                     No,
		{"-s 10.0.0.1", "FROM src,src"}:                     Some,
		{"-s 10.0.0.1", "LONG src"}:                         Some,
		{"-s 10.0.0.1", "BUT src"}:                          Yes,
		{"-s 10.1.0.1", "BUT src"}:                          No,
		{"-s 10.1.1.1", "BUT src"}:                          Yes,
		{"-s 11.0.0.1", "BUT src"}:                          No,
		{"-s 10.1.0.0/16", "BUT src"}:                       Some,
		{"-s 10.0.0.1", "ODDS src"}:                         Some,
		{"-s 192.0.2.1", "LIST src"}:                        Yes,
		{"-s 10.0.0.1", "LIST src"}:                         No,
		{"-s 10.0.0.1 -p tcp", "EVERY src"}:                 Some,
		{"-s 10.0.0.2", "THREE dst,dst,src"}:                Some,
		{"-s 10.0.0.2 -d 192.0.2.2", "THREE dst,dst,src"}:   Yes,
		{"-s 10.0.0.2 -d 192.0.2.2", "! THREE dst,dst,src"}: No,
		{"-s 10.0.0.1 -d 192.0.2.2", "THREE dst,dst,src"}:   No,
		{"-s 10.0.0.1 -d 192.0.2.2", "! THREE dst,dst,src"}: Yes,
		{"-s 10.0.0.1 -i eth1", "LINKS src,src"}:            Yes,
		{"-s 10.0.0.1 -i eth2", "LINKS src,src"}:            No,
		{"-s 10.0.0.2 -i eth1", "LINKS src,src"}:            No,
		{"-s 10.0.0.1 -i eth1", "LINKS src,dst"}:            Some,
		{"-s 10.0.0.1 -p tcp", "GONE src"}:                  Unknown,
		{"-s 10.0.0.1 -p tcp", "EMPTY src"}:                 No,
		{"-s 10.0.0.1 -p tcp", "! NONE src"}:                Yes,
	} {
		not, match := "", rules[1]
		if match[0] == '!' {
			not, match = "! ", match[2:]
		}
		w, p := overSets(t, nil, "PREROUTING "+rules[0]+" -j X", "X -m set "+not+"--match-set "+match+" -j DNAT --to-destination 10.0.0.1")
		r, err := w.Walk("PREROUTING", p)
		if err != nil {
			t.Fatal(err)
		}
		got := No
		if len(r.NAT) > 0 {
			got = r.NAT[0].Last().Match
		}
		if got != want {
			t.Errorf("%v: %s, want %s", rules, got, want)
		}
	}
}

// Of many destinations a set is listed. What has other addresses is not for them.
func TestIPSetsOfManyDestinations(t *testing.T) {
	for match, want := range map[string]Tri{
		"NODES dst": Some, "ANY dst": No, "NONE dst": No, "! NONE dst": Yes, "PAIRS dst,dst": Some, "FROM dst,dst": No, "LONG dst": Some, "LIST dst": Some, "PORTS dst": Yes,
		"THREE dst,dst,src": Some, "BUT dst": No, "! BUT dst": Yes,
	} {
		not := ""
		if match[0] == '!' {
			not, match = "! ", match[2:]
		}
		w, p := overSets(t, nil, "PREROUTING -p tcp -m set "+not+"--match-set "+match+" -j DNAT --to-destination 10.0.0.1")
		p.Dst = addrset.Of(netip.MustParsePrefix("192.0.2.0/25")).Minus(one("192.0.2.50"))
		r, err := w.Walk("PREROUTING", p)
		if err != nil {
			t.Fatal(err)
		}
		got := No
		if len(r.NAT) > 0 {
			got = r.NAT[0].Match
		}
		if got != want {
			t.Errorf("%s%s: %s, want %s", not, match, got, want)
		}
	}
}

func TestIPSetsFailClosed(t *testing.T) {
	errNo := errors.New("no answer")
	w, p := overSets(t, errNo, "PREROUTING -m set --match-set NODES dst -j ACCEPT")
	if _, err := w.Walk("PREROUTING", p); !errors.Is(err, errNo) {
		t.Errorf("error is %v", err)
	}
}

// Each rule is asked alone, and tells the ipsets that it asks.
func TestMatches(t *testing.T) {
	w, p := overSets(t, nil,
		"X -p tcp -m set --match-set PORTS dst -j MARKS", "X -p udp -j MARKS", "X -p tcp -m set --match-set OTHERS dst -j RETURN",
		"X -p tcp -m set --match-set PAIRS dst,dst -j RETURN", "X -m set --match-set ODD dst,dst,src -j RETURN", "MARKS -j MARK --set-xmark 0x1/0x1")
	hops, err := w.Matches("X", p)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range hops {
		got = append(got, fmt.Sprint(h.Index, " ", h.Match, " ", h.Target, " ", h.IPSets))
	}
	want := []string{"0 yes jump MARKS [PORTS]", "3 some return [PAIRS]", "4 some return [ODD]"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
