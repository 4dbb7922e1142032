// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
)

// nat makes table nat of rules without "-A "; their chains are declared.
func nat(t testing.TB, f hostport.Family, rules ...string) *xtrule.Tables {
	t.Helper()
	text := "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
	declared := map[string]bool{"PREROUTING": true, "OUTPUT": true}
	for _, r := range rules {
		if c, _, _ := strings.Cut(r, " "); !declared[c] {
			declared[c] = true
			text += ":" + c + " - [0:0]\n"
		}
	}
	for _, r := range rules {
		text += "-A " + r + "\n"
	}
	return parsed(t, f, text+"COMMIT\n")
}

func parsed(t testing.TB, f hostport.Family, text string) *xtrule.Tables {
	t.Helper()
	out, err := xtrule.Parse(text, f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// walker walks table nat of IPv4.
func walker(t testing.TB, o Options, rules ...string) *Walker {
	t.Helper()
	return New(nat(t, hostport.IPv4, rules...), natTable(hostport.IPv4), hostport.IPv4, o)
}

func natTable(f hostport.Family) nft.Table { return nft.Table{Family: f.NFProto(), Name: "nat"} }

// fixture walks table nat of a file of iptables-save.
func fixture(t testing.TB, name string) *Walker {
	t.Helper()
	b, err := os.ReadFile("../iptsave/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return New(parsed(t, hostport.IPv4, string(b)), natTable(hostport.IPv4), hostport.IPv4, Options{})
}

func packet(h Hook, dst string, port uint16) Packet {
	return Packet{Hook: h, Proto: hostport.TCP, Dst: one(dst), Port: port}
}

func one(ip string) addrset.Set {
	a := netip.MustParseAddr(ip)
	return addrset.Between(a, a)
}

func (t Tri) String() string { return [...]string{"no", "yes", "some", "unknown"}[t] }

// say writes a result as "yes DNAT via PREROUTING > X; end some ACCEPT via X".
func say(r Result) string {
	var out []string
	for _, list := range []struct {
		verb  string
		paths []Path
	}{{"", r.NAT}, {"end ", r.End}} {
		for _, p := range list.paths {
			var chains []string
			for _, h := range p.Hops {
				chains = append(chains, h.Chain)
			}
			out = append(out, fmt.Sprintf("%s%s %s via %s", list.verb, p.Match, p.Last().Target, strings.Join(chains, " > ")))
		}
	}
	return strings.Join(out, "; ")
}
