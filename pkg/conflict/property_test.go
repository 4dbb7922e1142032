// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
)

// random draws nodes from few values, so that they meet.
type random struct{ *rand.Rand }

func seeded(n uint64) random { return random{rand.New(rand.NewPCG(n, 42))} }

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

func (r random) proto() hostport.Proto { return pick(r, tcp, udp) }

func (r random) port() uint16 { return pick[uint16](r, 80, 81, 40000) }

// listener is on no address that a wildcard spares.
func (r random) listener() hostport.Listener {
	l := listens(r.proto(), pick(r, "0.0.0.0", "::", nodeIP, other, "2001:db8::1"), r.port())
	l.V6Only = r.IntN(3) == 0
	return l
}

func (r random) mapping() hostport.Mapping {
	ip := pick(r, "", "", nodeIP, other, "2001:db8::1")
	f := pick(r, v4, v6)
	if ip != "" {
		f = hostport.FamilyOf(netip.MustParseAddr(ip))
	}
	return mapPort(f, ip, r.proto(), r.port())
}

func (r random) rule(chain string) string {
	p := r.proto()
	match := pick(r, "", "-d 192.0.2.1/32 ", "! -d 192.0.2.1/32 ", "-d 192.0.2.0/24 ", "-s 10.0.0.0/8 ", "-i eth0 ", "-m mark --mark 0x1 ")
	ports := pick(r, "", fmt.Sprintf("-m %s --dport %d ", p, r.port()), fmt.Sprintf("-m multiport --dports 22,%d ", r.port()), fmt.Sprintf("-m %s ! --dport %d ", p, r.port()))
	return fmt.Sprintf("%s %s-p %s %s-j %s", chain, match, p, ports,
		pick(r, "X", "DNAT --to-destination 10.0.0.2", "REDIRECT", "ACCEPT", "RETURN", "FROB"))
}

// rules has no jump within X, which would be a loop.
func (r random) rules() []string {
	out := []string{"X -p udp -j RETURN"}
	for range r.IntN(5) {
		chain := pick(r, "PREROUTING", "OUTPUT", "X")
		if ru := r.rule(chain); chain != "X" || !strings.HasSuffix(ru, "-j X") {
			out = append(out, ru)
		}
	}
	return out
}

func (r random) node(t testing.TB, rules []string) Snapshot {
	s := node()
	for range r.IntN(3) {
		s = s.with(r.listener())
	}
	for i := range r.IntN(2) {
		s = s.claimed(fmt.Sprint("c", i), r.IntN(2) == 0, r.mapping())
	}
	return s.rules(t, v4, r.IntN(2) == 0, rules...)
}

func conflicts(t *testing.T, a hostport.Attachment, s Snapshot) []string {
	t.Helper()
	r, err := Find(a, s)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range r.Conflicts {
		out = append(out, f.Message)
	}
	return out
}

const rounds = 4000

func wantSuperset(t *testing.T, before, after []string, a hostport.Attachment, s Snapshot) {
	t.Helper()
	for _, m := range before {
		if !slices.Contains(after, m) {
			t.Fatalf("conflict is gone: %s\nmappings %v\nsnapshot %+v", m, a.Mappings, s)
		}
	}
}

func TestOneMoreListenerRemovesNoConflict(t *testing.T) {
	found := 0
	for i := range uint64(rounds) {
		r := seeded(i)
		a, s := attach(r.mapping(), r.mapping()), r.node(t, r.rules())
		before := conflicts(t, a, s)
		found += len(before)
		more := s.with(r.listener())
		wantSuperset(t, before, conflicts(t, a, more), a, more)
	}
	if found < rounds/4 {
		t.Errorf("only %d conflicts in %d rounds: the test tests nothing", found, rounds)
	}
}

func TestOneMoreRuleRemovesNoConflict(t *testing.T) {
	for i := range uint64(rounds) {
		r := seeded(i)
		a, rules := attach(r.mapping(), r.mapping()), r.rules()
		seed := r.Uint64()
		s := seeded(seed).node(t, rules)
		more := seeded(seed).node(t, append(rules, r.rule("PREROUTING"), r.rule("OUTPUT")))
		wantSuperset(t, conflicts(t, a, s), conflicts(t, a, more), a, more)
	}
}

func TestOneMoreClaimRemovesNoConflict(t *testing.T) {
	for i := range uint64(rounds) {
		r := seeded(i)
		a, s := attach(r.mapping(), r.mapping()), r.node(t, r.rules())
		more := s.claimed("more", r.IntN(2) == 0, r.mapping())
		wantSuperset(t, conflicts(t, a, s), conflicts(t, a, more), a, more)
	}
}

// Whatever takes traffic of one node address takes some of the wildcard's. A
// rule that hides a mapping is another matter: it takes part of the wildcard.
func TestTheWildcardAbsorbsTheSpecific(t *testing.T) {
	met := 0
	for i := range uint64(rounds) {
		r := seeded(i)
		s := r.node(t, r.rules())
		m := r.mapping()
		if m.Wildcard() {
			continue
		}
		wild := m
		wild.HostIP = netip.Addr{}
		one, err := Find(attach(m), s)
		if err != nil {
			t.Fatal(err)
		}
		all, err := Find(attach(wild), s)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range one.Conflicts {
			if f.Kind == finding.Hidden {
				continue
			}
			met++
			if !slices.ContainsFunc(all.Conflicts, func(g Finding) bool { return g.Kind == f.Kind }) {
				t.Fatalf("the wildcard does not see %q\n%+v\n%+v", f.Message, all, s)
			}
		}
		for _, k := range one.TakeOver {
			if !slices.Contains(all.TakeOver, k) {
				t.Fatalf("the wildcard does not take over %s", k)
			}
		}
	}
	if met < rounds/16 {
		t.Errorf("only %d conflicts in %d rounds: the test tests nothing", met, rounds)
	}
}

func TestTheOwnerNeverConflictsWithItself(t *testing.T) {
	for i := range uint64(rounds) {
		r := seeded(i)
		a, s := attach(r.mapping(), r.mapping()), node()
		for _, m := range append(a.Mappings, r.mapping()) {
			s = s.claimed("me", r.IntN(2) == 0, m)
		}
		s = s.rules(t, v4, true, "PREROUTING -j PORTGUARD-HOSTPORTS", "PORTGUARD-HOSTPORTS -j DNAT --to-destination 10.0.0.2")
		rep, err := Find(a, s)
		if err != nil || say(rep) != "" {
			t.Fatalf("%v: %s, %v", a.Mappings, say(rep), err)
		}
	}
}
