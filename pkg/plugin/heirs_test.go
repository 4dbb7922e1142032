// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
)

// holds tells the interface of a container that has port 80, and of each one what its
// record says: how many it has, and how many it left.
func (b *bench) holds(ps ...pod) string {
	b.t.Helper()
	var out []string
	for _, p := range ps {
		if len(b.in(place.NFTables).now.has[p.key()].Mappings) > 0 {
			out = append(out, p.owner().IfName)
		}
		rec, err := b.store.Load(p.key())
		if err != nil {
			continue
		}
		if has := b.in(place.NFTables).now.has[p.key()]; cmp.Diff(has.Mappings, rec.Attachment.Mappings, cmp.Comparer(same)) != "" || has.Localhost != rec.Attachment.Localhost {
			b.t.Errorf("%s has %+v, and its record says %+v", p.owner().IfName, has, rec.Attachment)
		}
		if len(rec.Attachment.Mappings)+len(rec.Left) != 1 {
			b.t.Errorf("the record of %s: %+v", p.owner().IfName, rec)
		}
	}
	return strings.Join(out, " ")
}

// One port on several interfaces of a container: the first has it, and the next one when
// that goes, by whatever verb.
func TestInterfacesOfOneContainer(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	first, second, third := web, web.on("eth1"), web.on("eth2")
	want := func(when, holder string) {
		t.Helper()
		if got := b.holds(first, second, third); got != holder {
			t.Errorf("%s: %q has the port, want %q", when, got, holder)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	b.mustAdd(first, 80, "")
	b.mustAdd(second, 80, "")
	b.mustAdd(third, 80, "")
	want("after three ADDs", "eth0")
	if said := b.errs.String(); !strings.Contains(said, "hostPort 80/tcp stays with eth0 (network net) of the same container, which has hostPort 80/tcp; eth1 takes over when that goes") {
		t.Errorf("stderr: %q", said)
	}
	if err := b.add(b.pod("other"), 80, ""); code(err) != 101 {
		t.Errorf("ADD of another container: %v", err)
	}
	b.mustAdd(second, 80, "")
	want("the second is added again", "eth0")
	b.mustAdd(first, 80, "")
	want("the first is added again", "eth0")
	ok(b.Del(b.args(third, "")))
	want("DEL of one that waits", "eth0")
	b.mustAdd(third, 80, "")
	ok(b.Del(b.args(first, "")))
	want("DEL of the first", "eth1")
	ok(b.Del(b.args(first, "")))
	want("a second DEL", "eth1")
	b.mustAdd(first, 80, "")
	want("the first comes back", "eth1")
	ok(b.GC(b.args(first, `,"cni.dev/valid-attachments":[{"containerID":"web","ifname":"eth0"},{"containerID":"web","ifname":"eth2"}]`)))
	want("GC of the holder: the one that waits longest", "eth2")
	b.mustAdd(second, 80, "")
	b.mustAdd(third, 81, "")
	want("the holder is added again with another port", "eth0 eth2")
	for _, p := range []pod{third, first, second} {
		ok(b.Del(b.args(p, "")))
	}
	want("all are deleted", "")
	if keys := b.store.Keys(); len(keys) > 0 {
		t.Errorf("records stay: %v", keys)
	}
}

// One that is added again without ports has none.
func TestAddAgainWithoutPorts(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	second := web.on("eth1")
	b.mustAdd(web, 80, "")
	b.mustAdd(second, 80, "")
	req := b.request(web, 80, "")
	req.Attachment.Mappings = nil
	if err := b.addLocked(req, b.store, web.netns, false); err != nil {
		t.Fatal(err)
	}
	b.wantIn(second, "localnet", place.NFTables)
	if has := b.in(place.NFTables).now.has; len(has[second.key()].Mappings) != 1 || len(has[web.key()].Mappings) != 0 {
		t.Errorf("has %+v", has)
	}
}

// With localhost the one that takes over needs route_localnet of its own link.
func TestHeirGetsLocalhost(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	second := web.on("eth1")
	b.mustAdd(web, 80, "")
	b.node.link = "veth2"
	b.mustAdd(second, 80, "")
	if a := b.in("localnet").now.has[second.key()]; a.Localhost {
		t.Errorf("one that waits has localhost: %+v", a)
	}
	if err := b.Del(b.args(web, "")); err != nil {
		t.Fatal(err)
	}
	if a := b.in("localnet").now.has[second.key()]; !a.Localhost || a.Link != "veth2" {
		t.Errorf("the heir: %+v", a)
	}
}

// Somebody who has the port by other means keeps it, and DEL works all the same: also when
// the heir's rules cannot be made, and when nobody can look.
func TestDelDoesNotFailForHeirs(t *testing.T) {
	for name, broken := range map[string]func(b *bench, second pod){
		"a listener came": func(b *bench, _ pod) {
			b.node.snap.Listeners = []hostport.Listener{{Proto: hostport.TCP, Port: 80, Addr: netip.MustParseAddr("0.0.0.0"), Holder: hostport.Process{PID: 7, Comm: "nginx"}}}
		},
		"nobody can look": func(b *bench, _ pod) { b.node.lookErr = errBroken },
		"it fails": func(b *bench, _ pod) { // with the DEL and alone
			changes := 0
			b.in(place.NFTables).undone = func() error {
				if changes++; changes%2 == 1 {
					return errBroken
				}
				return nil
			}
		},
	} {
		b := newBench(t)
		web := b.pod("web")
		second := web.on("eth1")
		b.mustAdd(web, 80, "")
		b.mustAdd(second, 80, "")
		b.errs.Reset()
		broken(b, second)
		if err := b.Del(b.args(web, "")); err != nil {
			t.Errorf("%s: DEL: %v", name, err)
		}
		b.node.lookErr, b.node.snap.Listeners, b.in(place.NFTables).undone = nil, nil, nil
		if got := b.holds(web, second); got != "" || b.errs.Len() == 0 {
			t.Errorf("%s: %q has the port; said %q", name, got, b.errs.String())
		}
		done, err := b.Restore(b.conf())
		if got := b.holds(web, second); err != nil || got != "eth1" || len(done) != 1 || !done[0].Put {
			t.Errorf("%s: after restore %q has the port: %+v, %v", name, got, done, err)
		}
	}
}

// With the policy "warn" another pod waits as well.
func TestWarnedPodInherits(t *testing.T) {
	b := newBench(t)
	first, second := b.pod("first"), b.pod("second")
	b.mustAdd(first, 80, "")
	b.mustAdd(second, 80, `,"conflictPolicy":"warn"`)
	b.dies(first)
	if _, err := b.Sweep(b.dataDir, b.dir, 1e9, false); err != nil {
		t.Fatal(err)
	}
	b.wantIn(second, "localnet", place.NFTables)
}

// After a flush the first comes back, and the next one still waits. A kill before the
// record of the heir was written is made good by any later call.
func TestRestoreOfInterfaces(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	second := web.on("eth1")
	b.mustAdd(web, 80, "")
	b.mustAdd(second, 80, "")
	flush := func() { clear(b.in(place.NFTables).now.has) }
	restore := func(when, holder string) {
		t.Helper()
		if _, err := b.Restore(b.conf()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if got := b.holds(web, second); got != holder {
			t.Errorf("%s: %q has the port, want %q", when, got, holder)
		}
	}
	flush()
	restore("after a flush", "eth0")
	before, err := b.store.Load(web.key())
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := b.store.Load(second.key())
	if err == nil {
		err = b.Del(b.args(web, ""))
	}
	if err == nil {
		err = b.store.Save(*waiting)
	}
	if err != nil {
		t.Fatal(err)
	}
	restore("killed before the record of the heir was written", "eth1")
	if err := b.store.Save(*before); err != nil {
		t.Fatal(err)
	}
	restore("and before that of the first was removed", "eth1")
	b.mustAdd(web, 80, "")
	if err := b.Del(b.args(second, "")); err != nil {
		t.Fatal(err)
	}
	restore("after DEL of the heir", "eth0")
}

// One address of an interface and all of another one move together.
func TestInterfacesMove(t *testing.T) {
	b := newBench(t)
	one := b.pod("web")
	all := one.on("eth1")
	req := b.request(one, 80, "")
	req.Attachment.Mappings[0].HostIP = netip.MustParseAddr("192.0.2.1")
	if err := b.addLocked(req, b.store, one.netns, false); err != nil {
		t.Fatal(err)
	}
	b.mustAdd(all, 80, "")
	b.node.facts.IPVS = true
	b.mustAdd(b.pod("other"), 99, "")
	for _, p := range []pod{one, all} {
		b.wantIn(p, "localnet", place.IptablesNFT)
		rec, err := b.store.Load(p.key())
		if err != nil {
			t.Fatal(err)
		}
		if has := b.in(place.IptablesNFT).now.has[p.key()].Mappings; len(has) != 1 || len(rec.Attachment.Mappings) != 1 || len(rec.Left) > 0 {
			t.Errorf("%s has %v, and its record says %+v", p.owner().IfName, has, rec)
		}
	}
}

// CHECK of one that waits is content, also without its record.
func TestCheckOfOneThatWaits(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	second := web.on("eth1")
	b.mustAdd(web, 80, "")
	b.mustAdd(second, 80, "")
	for _, wiped := range []bool{false, true} {
		if wiped {
			if err := b.store.Delete(second.key()); err != nil {
				t.Fatal(err)
			}
		}
		s, err := b.Begin(b.store, 1e9, hostport.Attachment{})
		if err == nil {
			err = s.Load(BackendOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if lost, err := s.check(b.request(second, 80, "")); err != nil || len(lost) > 0 {
			t.Errorf("wiped %t: lost %v, %v", wiped, lost, err)
		}
		if lost, _ := s.check(b.request(b.pod("other"), 80, "")); len(lost) == 0 {
			t.Error("another container's lost nothing")
		}
	}
}

func (s *script) heirs() {
	s.Section("the port of another interface of a container")
	web := s.pod("interfaces")
	second := web.on("eth1")
	s.mustAdd(web, 86, "")
	s.mustAdd(second, 86, "")
	s.warned()
	s.node.snap.Listeners = []hostport.Listener{{Proto: hostport.TCP, Port: 86, Addr: netip.MustParseAddr("0.0.0.0"), Holder: hostport.Process{PID: 7, Comm: "nginx"}}}
	if err := s.Del(s.args(web, "")); err != nil {
		s.t.Fatal(err)
	}
	s.warned()
	s.node.snap.Listeners = nil
	if err := s.Del(s.args(second, "")); err != nil {
		s.t.Fatal(err)
	}
}
