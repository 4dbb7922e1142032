// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
)

// holding is a bench with a backend that holds ports, and what it held when the node was
// looked at.
func holding(t *testing.T) (b *bench, seen *[]hostport.Key) {
	b = newBench(t)
	b.node.holder = &memBackend{now: memState{"holder", false, map[hostport.Key]hostport.Attachment{}, nil}, log: &b.node.log}
	seen = &[]hostport.Key{}
	b.node.looked = func() { *seen = slices.Sorted(maps.Keys(b.node.holder.now.has)) }
	return b, seen
}

// The ports are held when it is looked who has them, and as long as they are mapped.
func TestHeldBeforeTheLook(t *testing.T) {
	b, seen := holding(t)
	p := b.pod("web")
	b.mustAdd(p, 80, "")
	if !slices.Equal(*seen, []hostport.Key{p.key()}) || len(b.node.holder.now.has) != 1 {
		t.Errorf("held at the look: %v, after ADD: %v", *seen, b.node.holder.now.has)
	}
	b.node.log = nil
	if err := b.Del(p.tell(argsOf(`{"name":"net","dataDir":"` + b.dataDir + `"}`))); err != nil {
		t.Fatal(err)
	}
	if want := []string{"localnet", "nftables", "holder"}; !slices.Equal(b.node.log, want) || len(b.node.holder.now.has) != 0 {
		t.Errorf("DEL changed %v, want %v; held: %v", b.node.log, want, b.node.holder.now.has)
	}
}

// What a pod had before its ADD came again is held until that is replaced.
func TestOldPortsAreHeldAtTheLook(t *testing.T) {
	b, _ := holding(t)
	p := b.pod("web")
	b.mustAdd(p, 8080, "")
	var ports []uint16
	b.node.looked = func() {
		for _, m := range b.node.holder.now.has[p.key()].Mappings {
			ports = append(ports, m.HostPort)
		}
	}
	b.mustAdd(p, 80, "")
	if want := []uint16{80, 8080}; !slices.Equal(slices.Compact(slices.Sorted(slices.Values(ports))), want) {
		t.Errorf("held at the look: %v, want %v", ports, want)
	}
	if after := b.node.holder.now.has[p.key()].Mappings; len(after) == 0 || after[0].HostPort != 80 {
		t.Errorf("held after ADD: %v", after)
	}
}

// Whatever an ADD fails for, it holds nothing then, and what was held before is as it was.
func TestNothingHeldAfterAFailure(t *testing.T) {
	for name, fails := range map[string]func(b *bench){
		"a refusal": func(b *bench) {
			b.node.snap.Listeners = []hostport.Listener{{Proto: hostport.TCP, Addr: hostport.IPv4.Wildcard(), Port: 80, Inode: 1}}
		},
		"an unreadable node": func(b *bench) { b.node.lookErr = errBroken },
		"a failing backend":  func(b *bench) { b.in("nftables").fail = errBroken },
		"a result unread":    func(b *bench) { b.Stdout = broken{errBroken} },
		"the holder":         func(b *bench) { b.node.holder.fail = errBroken },
	} {
		for _, again := range []bool{false, true} {
			b, _ := holding(t)
			p := b.pod("web")
			want := 0
			if again { // the pod is added with another port before
				b.mustAdd(p, 8080, "")
				want = 1
			}
			before := maps.Clone(b.node.holder.now.has)
			fails(b)
			if err := b.add(p, 80, ""); err == nil || b.store.Begun(p.key()) {
				t.Errorf("%s: ADD succeeded, or its mark is left: %v", name, err)
			}
			has := b.node.holder.now.has
			if len(has) != want || again && !slices.Equal(has[p.key()].Mappings, before[p.key()].Mappings) {
				t.Errorf("%s, again %t: held: %v", name, again, has)
			}
		}
	}
}

// Nor what is held for others who are put right by the way.
func TestNothingHeldForOthersAfterAFailure(t *testing.T) {
	for name, fails := range map[string]func(b *bench){
		"an unreadable node": func(b *bench) { b.node.lookErr = errBroken },
		"a failing backend": func(b *bench) {
			x := b.in("nftables")
			x.fail, x.failed = errBroken, func() { x.fail = errBroken }
		},
		"a result unread": func(b *bench) { b.Stdout = broken{errBroken} },
	} {
		b, _ := holding(t)
		web, next := b.pod("web"), b.pod("next")
		b.mustAdd(web, 80, "")
		b.runs(web)
		for _, x := range []*memBackend{b.in("nftables"), b.node.holder} {
			x.now.has = map[hostport.Key]hostport.Attachment{}
		}
		fails(b)
		if err := b.add(next, 81, ""); err == nil {
			t.Errorf("%s: ADD succeeded", name)
		}
		if has := b.node.holder.now.has; len(has) > 0 {
			t.Errorf("%s: held: %v", name, has)
		}
	}
}

// What restore puts back is held before it is looked who has it by now.
func TestHeldBeforeARestore(t *testing.T) {
	for _, refused := range []bool{false, true} {
		b, seen := holding(t)
		p := b.pod("web")
		b.mustAdd(p, 80, "")
		b.runs(p)
		for _, x := range []*memBackend{b.in("nftables"), b.node.holder} {
			x.now.has = map[hostport.Key]hostport.Attachment{}
		}
		if refused {
			b.node.snap = conflict.Snapshot{Listeners: []hostport.Listener{{Proto: hostport.TCP, Addr: hostport.IPv4.Wildcard(), Port: 80, Inode: 1}}}
		}
		out, err := b.Restore(b.conf())
		if err != nil || len(out) != 1 || (out[0].Refused != "") != refused {
			t.Fatalf("restore: %+v, %v", out, err)
		}
		if len(*seen) != 1 || (len(b.node.holder.now.has) == 0) != refused {
			t.Errorf("refused %t: held at the look: %v, after: %v", refused, *seen, b.node.holder.now.has)
		}
	}
}

// Podman binds the ports itself.
func TestNothingHeldForPodman(t *testing.T) {
	for policy, want := range map[string]hostport.Reserve{"": hostport.ReserveRuntime, `,"reserve":"require"`: hostport.ReserveRuntime, `,"reserve":"off"`: hostport.ReserveOff} {
		b, _ := holding(t)
		b.node.binds = true
		p := b.pod("web")
		b.mustAdd(p, 80, policy)
		if rec, err := b.store.Load(p.key()); err != nil || rec.Attachment.Reserve != want || b.node.holder.now.has[p.key()].Reserve != want {
			t.Errorf("%q: %+v, %v", policy, rec, err)
		}
	}
}

// STATUS fails where an ADD would, if nothing may be mapped that is not held.
func TestStatusRequiresHolding(t *testing.T) {
	b := newBench(t)
	b.node.unheld = errors.New("no")
	for conf, fails := range map[string]bool{"": false, `,"reserve":"off"`: false, `,"reserve":"require"`: true} {
		if err := b.Status(argsOf(confHead + conf + "}")); (err != nil) != fails {
			t.Errorf("%q: %v", conf, err)
		}
	}
}

// listing is a State for which ports are reserved.
type listing struct {
	backend.Nothing
	ports []uint16
}

func (l listing) Listed() []uint16 { return l.ports }

// That a port is reserved because a mapping has it says nothing of who has a socket there.
func TestReservedByOthers(t *testing.T) {
	s := &Session{have: []backend.State{backend.Nothing{}, listing{ports: []uint16{40001, 40005, 65535}}}}
	got := s.othersReserve([][2]uint16{{22, 22}, {40000, 40003}, {40005, 40005}, {65534, 65535}})
	if want := [][2]uint16{{22, 22}, {40000, 40000}, {40002, 40003}, {65534, 65534}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
