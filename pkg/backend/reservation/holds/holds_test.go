// SPDX-License-Identifier: Apache-2.0

package holds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

// A kernel is the maps, and ip_local_reserved_ports, in memory.
type kernel struct {
	ports, spare map[string]string
	listed       map[uint16]bool
	node         Node
	known        map[hostport.Key]bool
}

func newKernel() *kernel {
	return &kernel{ports: map[string]string{}, spare: map[string]string{}, listed: map[uint16]bool{40005: true}, known: map[hostport.Key]bool{},
		node: Node{From: 40000, To: 40010, Spared: prefixes("198.51.100.0/24", "192.0.2.255/32"), Links: links}}
}

// links are those that addresses of the tests are on.
func links(addr netip.Addr) []int {
	return map[netip.Addr][]int{netip.MustParseAddr("192.0.2.1"): {2}, netip.MustParseAddr("2001:db8::1"): {2, 0x105}}[addr]
}

const netns = 7

func (k *kernel) load(t *testing.T) State {
	t.Helper()
	l := &Loader{Netns: netns, Node: k.node, Known: func(key hostport.Key) bool { return k.known[key] }}
	for port := range k.listed {
		l.Node.Listed = append(l.Node.Listed, [2]uint16{port, port})
	}
	for key := range k.spare {
		if err := l.Spare([]byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range k.ports {
		l.Port([]byte(key), []byte(value))
	}
	return l.State()
}

// apply makes a change as far as the step of that number, all of it if that is negative.
func (k *kernel) apply(c Change, until int) {
	do := func(f func()) {
		if until != 0 {
			until--
			f()
		}
	}
	put := func(all []Element) {
		for _, e := range all {
			do(func() { k.ports[string(e.PortKey.Bytes(netns))] = string(e.Entry.Bytes()) })
		}
	}
	for _, s := range c.Spare {
		do(func() { k.spare[string(s.Bytes(netns))] = "" })
	}
	put(c.Put)
	for _, p := range c.List {
		do(func() { k.listed[p] = true })
	}
	for _, p := range c.Unlist {
		do(func() { delete(k.listed, p) })
	}
	put(c.Cut)
	for _, p := range c.Drop {
		do(func() { delete(k.ports, string(p.Bytes(netns))) })
	}
	for _, s := range c.Unspare {
		do(func() { delete(k.spare, string(s.Bytes(netns))) })
	}
}

// takes is what the program decides of a bind to an address, in this package's words.
func (s State) takes(proto hostport.Proto, port uint16, addr netip.Addr) bool {
	slot := Slot{proto, port, addr}
	for has, h := range s.slots {
		if has.Proto != proto || has.Port != port || has.Addr.Is4() != addr.Is4() {
			continue
		}
		out := slices.ContainsFunc(slices.Concat(h.Spared, s.spared), func(p netip.Prefix) bool { return p.Contains(addr) })
		if has == slot || has.Wildcard() && !out || addr.IsUnspecified() {
			return true
		}
	}
	return false
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func owner(id string) hostport.Owner { return hostport.Owner{ContainerID: id, IfName: "eth0"} }

// pod is an attachment with mappings such as "tcp 80", "udp 53 192.0.2.1" or "tcp 80 ::".
func pod(id string, mappings ...string) hostport.Attachment {
	a := hostport.Attachment{Owner: owner(id)}
	for _, s := range mappings {
		f := strings.Fields(s)
		m := hostport.Mapping{ContainerPort: 80}
		m.Proto, _ = hostport.ParseProto(f[0])
		_, _ = fmt.Sscan(f[1], &m.HostPort)
		families := hostport.Families()
		of := families[:]
		if len(f) > 2 {
			addr := netip.MustParseAddr(f[2])
			of = []hostport.Family{hostport.FamilyOf(addr)}
			if !addr.IsUnspecified() {
				m.HostIP = addr
			}
		}
		for _, m.Family = range of {
			a.Mappings = append(a.Mappings, m)
		}
	}
	return a
}

func slots(s State) (out []string) {
	for slot, h := range s.slots {
		out = append(out, fmt.Sprintf("%s %d %s", slot.Proto, slot.Port, slot.Addr))
		if len(h.Spared) > 0 {
			out[len(out)-1] += fmt.Sprint(" but ", h.Spared)
		}
		if h.Localhost {
			out[len(out)-1] += " and 127.0.0.1"
		}
	}
	slices.Sort(out)
	return out
}

func TestNeeds(t *testing.T) {
	local := pod("a", "tcp 80")
	local.Localhost = true
	spare := pod("a", "udp 53", "tcp 53")
	spare.Excludes = prefixes("192.0.2.0/24", "2001:db8::/32", "10.0.0.1/8")
	spare.Carves = []hostport.Carve{{Addr: netip.MustParseAddr("127.0.0.53"), Proto: hostport.UDP, Port: 53}}
	off, runtime := pod("a", "tcp 80"), pod("a", "tcp 80")
	off.Reserve, runtime.Reserve = hostport.ReserveOff, hostport.ReserveRuntime
	for _, tt := range []struct {
		name string
		a    hostport.Attachment
		want []string
	}{
		{"both families", pod("a", "tcp 80"), []string{"tcp 80 0.0.0.0", "tcp 80 ::"}},
		{"one family", pod("a", "udp 80 ::"), []string{"udp 80 ::"}},
		{"one address", pod("a", "tcp 80 192.0.2.1", "tcp 80 2001:db8::1"), []string{"tcp 80 192.0.2.1", "tcp 80 2001:db8::1"}},
		{"SCTP has no hook", pod("a", "sctp 80", "tcp 81 0.0.0.0"), []string{"tcp 81 0.0.0.0"}},
		{"127.0.0.1 is of IPv4", local, []string{"tcp 80 0.0.0.0 and 127.0.0.1", "tcp 80 ::"}},
		{"what is left out", spare, []string{
			"tcp 53 0.0.0.0 but [10.0.0.0/8 192.0.2.0/24]", "tcp 53 :: but [2001:db8::/32]",
			"udp 53 0.0.0.0 but [10.0.0.0/8 127.0.0.53/32 192.0.2.0/24]", "udp 53 :: but [2001:db8::/32]"}},
		{"off", off, nil},
		{"the runtime does it", runtime, nil},
	} {
		none := newKernel().load(t)
		s := none.With(tt.a).(State)
		if diff := cmp.Diff(tt.want, slots(s)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
		if lost := s.Missing(tt.a); len(lost) > 0 {
			t.Errorf("%s: missing with it: %v", tt.name, lost)
		}
		if !s.Whole(tt.a) || none.Whole(tt.a) != (len(tt.want) == 0) {
			t.Errorf("%s: whole with it %t, without %t", tt.name, s.Whole(tt.a), none.Whole(tt.a))
		}
		if lost := none.Missing(tt.a); (len(lost) == 0) != (len(tt.want) == 0) {
			t.Errorf("%s: missing without: %v", tt.name, lost)
		}
		if gone := s.Without(tt.a.Owner.Key()).(State); len(gone.slots)+len(gone.spared)+len(gone.ours)+len(gone.sets) > 0 {
			t.Errorf("%s: left: %+v", tt.name, gone)
		}
	}
}

// A slot stays whose it is, unless the one that comes takes over.
func TestTakeOver(t *testing.T) {
	a, b := pod("a", "tcp 80"), pod("b", "tcp 80 0.0.0.0", "tcp 81")
	s := newKernel().load(t).With(a)
	beside := s.With(b).(State)
	if beside.slots[Slot{hostport.TCP, 80, netip.IPv4Unspecified()}].Key != a.Owner.Key() || len(beside.Missing(a))+len(beside.Missing(b)) > 0 {
		t.Errorf("beside: %v", slots(beside))
	}
	instead := s.With(b, a.Owner.Key()).(State)
	if instead.slots[Slot{hostport.TCP, 80, netip.IPv4Unspecified()}].Key != b.Owner.Key() || len(instead.Missing(a)) != 1 {
		t.Errorf("instead: %v, a misses %v", slots(instead), instead.Missing(a))
	}
}

// WithAll is With for one after the other.
func TestWithAll(t *testing.T) {
	have := newKernel().load(t).With(pod("dead", "tcp 81")).With(pod("b", "tcp 7"))
	as := []hostport.Attachment{pod("a", "tcp 80"), pod("b", "tcp 80 0.0.0.0", "tcp 81", "tcp 40003"), pod("c", "udp 80 192.0.2.1", "tcp 81")}
	as[1].Excludes = prefixes("192.0.2.0/24")
	dead := pod("dead").Owner.Key()
	want := have.Without(dead)
	for _, a := range as {
		want = want.With(a)
	}
	if d := cmp.Diff(slots(want.(State)), slots(have.WithAll(as, dead).(State))); d != "" || !Diff(want.(State), have.WithAll(as, dead).(State)).Empty() {
		t.Errorf("all at once (-want +got)\n%s", d)
	}
}

// Where nothing can be held nothing is missing, but for who must not be without.
func TestLacks(t *testing.T) {
	a := pod("a", "tcp 80")
	for _, tt := range []struct {
		lacks   string
		reserve hostport.Reserve
		want    int
	}{{"too old", hostport.ReserveAuto, 0}, {"too old", hostport.ReserveRequire, 1}, {"", hostport.ReserveAuto, 1}, {"too old", hostport.ReserveOff, 0}} {
		a.Reserve = tt.reserve
		s := None(Node{}, func() string { return tt.lacks })
		if lost := s.Missing(a); len(lost) != tt.want || s.Off() != tt.lacks {
			t.Errorf("%+v: %v", tt, lost)
		}
		if with := s.With(a).(State); with.Required() != (tt.reserve == hostport.ReserveRequire) {
			t.Errorf("%+v: required is %t", tt, with.Required())
		}
	}
}

// What is loaded is what was written, after any changes, and after a kill in any of them the
// next change makes it good.
func TestChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		k := newKernel()
		pods := map[string]hostport.Attachment{}
		for range 8 {
			id := string(rune('a' + r.IntN(4)))
			have := k.load(t)
			var want State
			if _, has := pods[id]; has && r.IntN(2) == 0 {
				delete(pods, id)
				want = have.Without(owner(id).Key()).(State)
			} else {
				pods[id] = random(r, id)
				want = have.With(pods[id]).(State)
			}
			if r.IntN(3) == 0 { // killed: what it was for is gone, and only those who are left are known
				k.apply(Diff(have, want), r.IntN(6))
				delete(pods, id)
				k.known = keys(pods)
				have = k.load(t)
				want = have.Without().(State)
			}
			for _, a := range pods { // one may have left its slots to another that goes
				if len(want.Missing(a)) > 0 {
					want = want.With(a).(State)
				}
			}
			k.apply(Diff(have, want), -1)
			k.known = keys(pods)
			check(t, k, want, pods)
		}
		have := k.load(t)
		k.apply(Diff(have, have.Without(slices.Collect(maps.Keys(keys(pods)))...).(State)), -1)
		if len(k.ports)+len(k.spare) > 0 || !maps.Equal(k.listed, map[uint16]bool{40005: true}) {
			t.Fatalf("left: %q %q %v", k.ports, k.spare, k.listed)
		}
	}
}

func keys(pods map[string]hostport.Attachment) map[hostport.Key]bool {
	out := map[hostport.Key]bool{}
	for id := range pods {
		out[owner(id).Key()] = true
	}
	return out
}

// random is a pod with ports of which those of others may be some.
func random(r *rand.Rand, id string) hostport.Attachment {
	var ms []string
	for range 1 + r.IntN(3) {
		ms = append(ms, fmt.Sprintf("%s %d%s", []string{"tcp", "udp"}[r.IntN(2)], []int{80, 81, 40001, 40005}[r.IntN(4)], []string{"", " 0.0.0.0", " ::", " 192.0.2.1", " 2001:db8::1"}[r.IntN(5)]))
	}
	a := pod(id, ms...)
	a.Localhost = r.IntN(2) == 0
	if r.IntN(2) == 0 {
		a.Excludes = prefixes("203.0.113.0/24", "2001:db8:9::/48")[r.IntN(2):]
	}
	return a
}

func check(t *testing.T, k *kernel, want State, pods map[string]hostport.Attachment) {
	t.Helper()
	got := k.load(t)
	if diff := cmp.Diff(slots(want), slots(got)); diff != "" {
		t.Fatalf("slots (-want +got)\n%s", diff)
	}
	if c := Diff(got, got.Without().(State)); !c.Empty() {
		t.Fatalf("a change of nothing: %+v", c)
	}
	for _, a := range pods {
		if lost := got.Missing(a); len(lost) > 0 || !got.Whole(a) {
			t.Fatalf("missing: %v in %v", lost, slots(got))
		}
		for _, m := range a.Mappings {
			addr := m.HostIP
			if m.Wildcard() {
				addr = m.Family.Wildcard()
			}
			if !got.takes(m.Proto, m.HostPort, addr) {
				t.Fatalf("%s is not held: %v", m, slots(got))
			}
		}
	}
}

// Of single addresses the links are known that sockets receive them by, or that nobody knows.
func TestLinks(t *testing.T) {
	s := newKernel().load(t).With(pod("a", "tcp 80 192.0.2.1", "tcp 80 2001:db8::1", "tcp 81 192.0.2.7", "tcp 82")).(State)
	on := func(port uint16, link int) PortKey { return PortKey{Proto: hostport.TCP, Port: port}.on(link) }
	got := map[PortKey]uint32{}
	for k, e := range s.entries() {
		if !k.Addr.IsValid() || k.Addr.Is6() && k.Addr.As16()[0] == 0 {
			got[k] = e.flags
		}
	}
	want := map[PortKey]uint32{
		{Proto: hostport.TCP, Port: 80}: one4 | one6, on(80, 2): one4 | one6, on(80, 0x105): one6,
		{Proto: hostport.TCP, Port: 81}: one4 | anywhere4, {Proto: hostport.TCP, Port: 82}: any4 | any6,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if b := on(80, 0x105).Bytes(1); string(b[8:24]) != "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xfe\x00\x00\x01\x05" {
		t.Errorf("slot of a link: %x", b)
	}
}

// The bytes are those of program/bind.c.
func TestBytes(t *testing.T) {
	k := PortKey{hostport.UDP, 0x1234, netip.MustParseAddr("192.0.2.1")}
	b := k.Bytes(1)
	if len(b) != SlotLen || b[24] != 0x12 || b[25] != 0x34 || b[26] != 17 || b[18] != 0xff || b[20] != 192 || b[23] != 1 {
		t.Errorf("slot %x", b)
	}
	e := Entry{Key4: owner("a").Key(), flags: any4 | ours, set4: 3}
	if got := parseEntry(e.Bytes()); got != e || len(e.Bytes()) != HoldLen {
		t.Errorf("hold %+v, want %+v", got, e)
	}
	for _, p := range prefixes("127.0.0.53/32", "0.0.0.0/0", "10.0.0.0/8", "::/0", "fe80::/10", "2001:db8::1/128") {
		want := SpareKey{5, p}
		netns, got, err := parseSpareKey(want.Bytes(9))
		if err != nil || got != want || netns != 9 {
			t.Errorf("spared %+v, want %+v: %v", got, want, err)
		}
	}
}
