// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// A concrete packet to port 80 of a node.
type concrete struct {
	src, dst netip.Addr
	in       string
	mark     uint32
}

// A clause is a match, or the setting of a mark, twice: as expressions and as
// what it means.
type clause struct {
	exprs exprs
	does  func(c *concrete) bool
}

// A model is a rule: its clauses, then what becomes of the packets.
type model struct {
	clauses []clause
	action  string // redir, accept, return, jump X, goto X, or nothing
	id      int
}

type draw struct{ *rand.Rand }

func (d draw) clause() clause {
	not := d.IntN(2) == 1
	op := uint32(cmpEQ)
	if not {
		op = cmpNEQ
	}
	bit := uint32(1) << d.IntN(2)
	always := func(b bool) func(*concrete) bool { return func(*concrete) bool { return b != not } }
	from := func(p string) func(*concrete) bool {
		return func(c *concrete) bool { return netip.MustParsePrefix(p).Contains(c.src) != not }
	}
	flag := op
	switch d.IntN(14) {
	case 0:
		return clause{exprs: and(dport(), test1(op, be16(80))), does: always(true)}
	case 1:
		return clause{exprs: and(dport(), test1(op, be16(81))), does: always(false)}
	case 2:
		return clause{exprs: and(dport(), lookIn("ports", flag)), does: always(true)}
	case 3:
		return clause{exprs: and(dport(), within(op, be16(70), be16(80))), does: always(true)}
	case 4:
		return clause{exprs: and(load(1, 12, 1), test1(op, []byte{10})), does: from("10.0.0.0/8")}
	case 5:
		return clause{exprs: and(load(1, 12, 3), test1(op, []byte{10, 1, 0})), does: from("10.1.0.0/24")}
	case 6:
		return clause{exprs: and(load(1, 12, 4), masked(ip("255.128.0.0"), ip("0.0.0.0")), test1(op, ip("10.0.0.0"))), does: from("10.0.0.0/9")}
	case 7:
		return clause{exprs: and(load(1, 12, 4), lookIn("nets", flag)), does: from("10.0.0.0/8")}
	case 8:
		return clause{exprs: and(meta(metaMark), masked(native(bit), native(0)), test1(op, native(bit))), does: func(c *concrete) bool { return c.mark&bit != 0 != not }}
	case 9:
		return clause{exprs: setMark(bit), does: func(c *concrete) bool { c.mark = bit; return true }}
	case 10:
		return clause{exprs: and(meta(metaMark), masked(native(^bit), native(bit)), ex("meta", map[uint16]uint32{2: metaMark, 3: 1})),
			does: func(c *concrete) bool { c.mark |= bit; return true }}
	case 11:
		return clause{exprs: and(meta(metaIifName), test1(op, name16("eth0"))), does: func(c *concrete) bool { return (c.in == "eth0") != not }}
	case 12:
		return clause{exprs: and(load(1, 16, 4), test1(op, ip("192.0.2.1"))), does: func(c *concrete) bool { return (c.dst == netip.MustParseAddr("192.0.2.1")) != not }}
	}
	return clause{exprs: and(to(8, load(1, 12, 4)), to(9, dport()), from8(lookIn("pairs", flag))),
		does: func(c *concrete) bool { return (c.src == netip.MustParseAddr("10.1.0.1")) != not }}
}

func (d draw) model(id int, actions ...string) model {
	m := model{id: id, action: actions[d.IntN(len(actions))]}
	for range d.IntN(3) {
		m.clauses = append(m.clauses, d.clause())
	}
	return m
}

func (m model) rule() nft.Rule {
	var e exprs
	for _, c := range m.clauses {
		e = append(e, c.exprs...)
	}
	verb, chain, _ := strings.Cut(m.action, " ")
	switch verb {
	case "redir":
		e = append(e, redir()...)
	case "accept":
		e = append(e, ends1(nft.Accept, "")...)
	case "return":
		e = append(e, ret()...)
	case "jump":
		e = append(e, jump(chain)...)
	case "goto":
		e = append(e, goTo(chain)...)
	}
	return nft.Rule{Handle: uint64(m.id), Exprs: e}
}

// send sends one packet through a chain. Done means that a rule ended the walk;
// nat is set if it translated.
func send(chains map[string][]model, chain string, c *concrete) (by int, nat, done bool) {
	for _, m := range chains[chain] {
		if slices.ContainsFunc(m.clauses, func(cl clause) bool { return !cl.does(c) }) {
			continue
		}
		verb, next, _ := strings.Cut(m.action, " ")
		switch verb {
		case "redir", "accept":
			return m.id, verb == "redir", true
		case "return":
			return 0, false, false
		case "jump", "goto":
			if by, nat, done = send(chains, next, c); done || verb == "goto" {
				return by, nat, done
			}
		}
	}
	return 0, false, false
}

func (d draw) chains() map[string][]model {
	id, out := 0, map[string][]model{}
	for _, c := range []struct {
		name    string
		actions []string
	}{{"pre", []string{"redir", "accept", "return", "jump x", "goto x", "jump y", ""}}, {"x", []string{"redir", "accept", "return", "jump y", "goto y", ""}},
		{"y", []string{"redir", "accept", "return", ""}}} {
		for range 1 + d.IntN(3) {
			id++
			out[c.name] = append(out[c.name], d.model(id, c.actions...))
		}
	}
	return out
}

// The packets stand for all: one on each side of everything a clause asks for.
func everyPacket() []concrete {
	var out []concrete
	for _, src := range []string{"10.1.0.1", "10.1.0.2", "10.2.0.1", "10.200.0.1", "172.16.0.1"} {
		for _, dst := range []string{"192.0.2.1", "192.0.2.2"} {
			for _, in := range []string{"eth0", "eth1"} {
				for mark := range uint32(4) {
					out = append(out, concrete{netip.MustParseAddr(src), netip.MustParseAddr(dst), in, mark})
				}
			}
		}
	}
	return out
}

func handles(paths []Path) map[string]addrset.Set {
	out := map[string]addrset.Set{}
	for _, p := range paths {
		h := fmt.Sprint("handle ", p.Last().Handle)
		out[h] = out[h].Or(p.Dst)
	}
	return out
}

// Whatever a packet meets, the walk tells; and it tells nothing else, because no
// clause leaves anything open.
func TestNativeWalkAgainstPackets(t *testing.T) {
	pair := append(ip("10.1.0.1"), 0, 80, 0, 0)
	sets := map[string]fakeSet{
		"ports": {fields: []int{2}, elems: keys(be16(80), be16(443))},
		"nets":  {fields: []int{4}, flags: nft.SetInterval, elems: append(keys(ip("10.0.0.0")), end(ip("11.0.0.0")))},
		"pairs": {fields: []int{4, 2}, elems: keys(pair, append(bytes.Clone(pair[:5]), 81, 0, 0))},
	}
	met := 0
	for seed := range uint64(3000) {
		d := draw{rand.New(rand.NewPCG(seed, 7))}
		chains := d.chains()
		src := &ruleset{family: nft.IPv4, sets: sets, chains: map[string][]nft.Rule{}}
		for name, ms := range chains {
			for _, m := range ms {
				src.chains[name] = append(src.chains[name], m.rule())
			}
		}
		p := packet4(Prerouting)
		p.Dst = p.Local
		r := src.walk(t, p)
		nat, ends := handles(r.NAT), handles(r.End)
		hit := map[string]bool{}
		for _, c := range everyPacket() {
			was := c
			by, isNAT, done := send(chains, "pre", &c)
			h := fmt.Sprint("handle ", by)
			hit[h] = true
			told := r.Reached
			if done {
				if told = ends[h]; isNAT {
					told, met = nat[h], met+1
				}
			}
			if !told.Contains(c.dst) {
				t.Fatalf("seed %d: %+v ends at rule %d (NAT %v), which the walk does not tell: %s\n%s", seed, was, by, isNAT, say(r), src)
			}
		}
		for _, list := range []map[string]addrset.Set{nat, ends} {
			for h := range list {
				if !hit[h] {
					t.Fatalf("seed %d: no packet ends at %s: %s\n%s", seed, h, say(r), src)
				}
			}
		}
	}
	if met < 10_000 {
		t.Errorf("only %d packets were translated: the test tests nothing", met)
	}
}

// String lists the rules for a message.
func (r *ruleset) String() string {
	var out []string
	for _, c := range []string{"pre", "x", "y"} {
		for _, ru := range r.chains[c] {
			out = append(out, fmt.Sprintf("%s %d %v", c, ru.Handle, ru.Exprs))
		}
	}
	return strings.Join(out, "\n")
}
