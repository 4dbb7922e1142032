// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func overSets(t *testing.T, err error, rules ...string) (*Walker, Packet) {
	t.Helper()
	src := nat(t, hostport.IPv4, rules...)
	sets := ipsets{src, map[string][]string{
		"PORTS": {"bitmap:port", "80"}, "OTHERS": {"bitmap:port", "81"}, "NODES": {"hash:ip", "192.0.2.1"}, "NONE": {"hash:ip"},
		"PAIRS": {"hash:ip,port", "192.0.2.2,80"}, "ODD": {"hash:ip,port,ip", ""},
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
		"PAIRS dst":       "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"ODD dst,dst,dst": "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"GONE dst":        "yes DNAT: 192.0.2.1-192.0.2.2; end unknown accept: 192.0.2.1-192.0.2.2",
		"! PORTS dst":     "yes DNAT: 192.0.2.1-192.0.2.2",
		"! OTHERS dst":    "end yes accept: 192.0.2.1-192.0.2.2",
		"! NODES dst":     "yes DNAT: 192.0.2.1; end some accept: 192.0.2.2",
		"! PAIRS dst,src": "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
		"NODES src":       "yes DNAT: 192.0.2.1-192.0.2.2; end some accept: 192.0.2.1-192.0.2.2",
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
