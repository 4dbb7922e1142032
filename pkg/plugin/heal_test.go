// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
)

// flush takes all mappings away.
func (b *bench) flush() {
	for _, name := range place.Mappers() {
		clear(b.in(name).now.has)
	}
}

// picture is all that the backends hold.
func (b *bench) picture() (out string) {
	for _, x := range b.node.backends {
		out += fmt.Sprintln(x.now)
	}
	return out
}

// listens has nginx on a port.
func (b *bench) listens(port uint16) {
	b.node.snap.Listeners = []hostport.Listener{{Proto: hostport.TCP, Port: port, Addr: netip.MustParseAddr("0.0.0.0"), Holder: hostport.Process{PID: 7, Comm: "nginx"}}}
}

// change is a call for somebody else.
type change struct {
	name string
	call func(b *bench, other pod) error
}

// changes are all that heal, but for restore. The pod other has port 1.
func changes() []change {
	return []change{
		{"ADD", func(b *bench, _ pod) error { return b.add(b.pod("late"), 99, "") }},
		{"ADD again", func(b *bench, other pod) error { return b.add(other, 2, "") }},
		{"DEL", func(b *bench, other pod) error { return b.Del(b.args(other, "")) }},
		{"DEL of what never was", func(b *bench, _ pod) error {
			return b.Del(b.args(b.pod("never"), `,"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1}]}`))
		}},
		{"GC of nothing", func(b *bench, other pod) error {
			return b.GC(b.args(other, `,"cni.dev/valid-attachments":[{"containerID":"web","ifname":"eth0"},{"containerID":"mail","ifname":"eth0"},{"containerID":"other","ifname":"eth0"}]`))
		}},
		{"GC", func(b *bench, other pod) error {
			return b.GC(b.args(other, `,"cni.dev/valid-attachments":[{"containerID":"web","ifname":"eth0"},{"containerID":"mail","ifname":"eth0"}]`))
		}},
		{"gc", func(b *bench, _ pod) error { _, err := b.Sweep(b.dataDir, b.dir, 1e9, false); return err }},
	}
}

// onChanges calls f with two pods, web and mail, on ports 80 and 81, before each change.
func onChanges(t *testing.T, f func(b *bench, web, mail, other pod, call func() error)) {
	t.Helper()
	for _, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			web, mail, other := b.pod("web"), b.pod("mail"), b.pod("other")
			b.mustAdd(web, 80, "")
			b.mustAdd(mail, 81, "")
			b.mustAdd(other, 1, "")
			b.errs.Reset()
			f(b, web, mail, other, func() error { t.Helper(); return c.call(b, other) })
		})
	}
}

// Every change for somebody else puts back what the living have lost, says so, and says
// nothing where nothing is lost.
func TestHeals(t *testing.T) {
	onChanges(t, func(b *bench, web, mail, _ pod, call func() error) {
		b.flush()
		if err := call(); err != nil {
			b.t.Error(err)
		}
		b.wantIn(web, "localnet", place.NFTables)
		b.wantIn(mail, "localnet", place.NFTables)
		if said := b.errs.String(); !strings.Contains(said, "container web") && !strings.Contains(said, "container mail") || !strings.Contains(said, "put right: nftables lacks") {
			b.t.Errorf("said %q", said)
		}
		b.errs.Reset()
		delete(b.in("localnet").now.has, mail.key())
		if err := b.Del(b.args(b.pod("gone"), `,"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1}]}`)); err != nil {
			b.t.Error(err)
		}
		b.wantIn(mail, "localnet", place.NFTables)
		b.errs.Reset()
		b.node.lookErr = errBroken // nobody has to look
		if err := b.Del(b.args(b.pod("gone"), `,"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1}]}`)); err != nil || b.errs.Len() > 0 {
			b.t.Errorf("with nothing lost: %v, said %q", err, &b.errs)
		}
	})
}

// What is where it does not belong any more is moved by every change.
func TestHealingMoves(t *testing.T) {
	onChanges(t, func(b *bench, web, mail, _ pod, call func() error) {
		b.node.facts.IPVS = true
		b.listens(80) // came later, and has nothing
		if err := call(); err != nil {
			b.t.Error(err)
		}
		for _, p := range []pod{web, mail} {
			b.wantIn(p, "localnet", place.IptablesNFT)
			if rec, err := b.store.Load(p.key()); err != nil || rec.Backend != place.IptablesNFT {
				b.t.Errorf("record of %s: %+v, %v", p.id, rec, err)
			}
		}
	})
}

// What somebody else has taken meanwhile stays with them, and the others are healed.
func TestHealingTakesNothing(t *testing.T) {
	onChanges(t, func(b *bench, web, mail, _ pod, call func() error) {
		rec, err := b.store.Load(web.key())
		if err != nil {
			b.t.Fatal(err)
		}
		second := rec.Attachment.Mappings[0]
		second.HostPort = 82
		rec.Attachment.Mappings = append(rec.Attachment.Mappings, second)
		b.save(*rec)
		b.flush()
		b.listens(80)
		if err := call(); err != nil {
			b.t.Error(err)
		}
		b.wantIn(mail, "localnet", place.NFTables)
		if has := b.in(place.NFTables).now.has[web.key()].Mappings; len(has) != 1 || has[0].HostPort != 82 {
			b.t.Errorf("has %+v", has)
		}
		if said := b.errs.String(); !strings.Contains(said, "container web (network net, eth0) are not put right: hostPort 80/tcp is taken: nginx") {
			b.t.Errorf("said %q", said)
		}
		now, err := b.store.Load(web.key())
		if err != nil || len(now.Attachment.Mappings) != 2 {
			b.t.Errorf("the record tells of %+v, %v", now, err)
		}
		b.node.snap.Listeners = nil
		if _, err := b.Restore(b.conf()); err != nil {
			b.t.Error(err)
		}
		if has := b.in(place.NFTables).now.has[web.key()].Mappings; len(has) != 2 {
			b.t.Errorf("has %+v when the port is free again", has)
		}
	})
}

// Of the dead nothing is put back, nor of whom nobody can tell whether they live.
func TestHealingLeavesTheDead(t *testing.T) {
	onChanges(t, func(b *bench, web, mail, _ pod, call func() error) {
		b.flush()
		b.dies(web)
		if err := call(); err != nil {
			b.t.Error(err)
		}
		if _, ok := b.in(place.NFTables).now.has[web.key()]; ok {
			b.t.Error("the dead pod is back")
		}
		b.wantIn(mail, "localnet", place.NFTables)
	})
	onChanges(t, func(b *bench, web, mail, _ pod, call func() error) {
		b.flush()
		b.dies(web)
		b.blind(true)
		_ = call() // GC and gc remove nothing either
		if _, ok := b.in(place.NFTables).now.has[web.key()]; ok {
			b.t.Error("one of which nobody can tell is back")
		}
		b.wantIn(mail, "localnet", place.NFTables)
	})
}

// Nobody's call fails for others.
func TestNobodyFailsForOthers(t *testing.T) {
	onChanges(t, func(b *bench, web, _, _ pod, call func() error) {
		b.flush()
		b.in(place.NFTables).hates = web.key()
		if err := call(); err != nil || !strings.Contains(b.errs.String(), "hostPorts of container web (network net, eth0) are not put right: broken") {
			b.t.Errorf("%v, said %q", err, &b.errs)
		}
		b.wantIn(b.pod("mail"), "localnet", place.NFTables)
		done, err := b.Restore(b.conf())
		if err != nil {
			b.t.Fatal(err)
		}
		for _, r := range done {
			want := map[string]string{"web": "refused"}[r.Owner.ContainerID]
			if want != "" && (r.Result() != want || !strings.Contains(r.Refused, "broken")) {
				b.t.Errorf("restore: %+v", r)
			}
		}
		b.wantIn(b.pod("mail"), "localnet", place.NFTables)
	})
	onChanges(t, func(b *bench, _, _, _ pod, call func() error) { // what fails without others, too, is not for them
		b.flush()
		b.in(place.NFTables).undone = func() error { return errBroken }
		if err := call(); err != nil && strings.Contains(b.errs.String(), "are not put right") {
			b.t.Errorf("%v, said %q", err, &b.errs)
		}
	})
	onChanges(t, func(b *bench, _, _, _ pod, call func() error) {
		b.flush()
		if b.node.lookErr = errBroken; call() != nil && !strings.HasPrefix(b.t.Name()[strings.Index(b.t.Name(), "/")+1:], "ADD") {
			b.t.Error("it fails because nobody can look")
		}
	})
}

// Who is put right one by one is so for as long as others may wait, and as long as it is known
// what is there.
func TestHealingOneByOneEnds(t *testing.T) {
	for name, broken := range map[string]func(b *bench, web pod){
		"it takes long": func(b *bench, web pod) {
			b.in(place.NFTables).hates = web.key()
			now := time.Now()
			b.Now = func() time.Time { now = now.Add(6 * time.Second); return now }
		},
		"one cannot be undone": func(b *bench, _ pod) {
			all := []error{errBroken, nil, fmt.Errorf("broken: %w", backend.ErrNotUndone), nil}
			b.in(place.NFTables).undone = func() (err error) { err, all = all[0], all[1:]; return err }
		},
	} {
		b := newBench(t)
		web, mail := b.pod("web"), b.pod("mail")
		b.mustAdd(web, 80, "")
		b.mustAdd(mail, 81, "")
		b.flush()
		broken(b, web)
		b.errs.Reset()
		b.mustAdd(b.pod("late"), 82, "")
		if said := b.errs.String(); slices.Contains(b.has(mail), place.NFTables) || !strings.Contains(said, "container web (network net, eth0) and 1 more are not put right: broken") {
			t.Errorf("%s: mail is in %q, said %q", name, b.has(mail), said)
		}
		b.in(place.NFTables).hates, b.in(place.NFTables).undone = "", nil
		b.mustAdd(b.pod("last"), 83, "")
		for _, p := range []pod{web, mail} {
			b.wantIn(p, "localnet", place.NFTables)
		}
	}
}

// A refused ADD, and one whose result nobody takes, heal nobody.
func TestRefusedAddHealsNobody(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	b.mustAdd(web, 80, "")
	b.flush()
	before := b.picture()
	if err := b.add(b.pod("next"), 80, ""); code(err) != 101 {
		t.Errorf("ADD: %v", err)
	}
	b.Stdout = broken{unix.EPIPE}
	if err := b.add(b.pod("next"), 81, ""); code(err) != types.ErrIOFailure {
		t.Errorf("ADD: %v", err)
	}
	if now := b.picture(); now != before {
		t.Errorf("was %s\nis %s", before, now)
	}
}

func (s *script) healing() {
	s.Section("others that have lost something, in a call for somebody else")
	one, two := s.pod("one"), s.pod("two")
	s.mustAdd(one, 87, "")
	s.mustAdd(two, 88, "")
	flush := func() {
		for _, name := range place.Mappers() {
			clear(s.in(name).now.has)
		}
	}
	call := func() {
		s.t.Helper()
		if err := s.Del(s.args(s.pod("gone"), `,"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1}]}`)); err != nil {
			s.t.Fatal(err)
		}
		s.warned()
	}
	flush()
	call()
	flush()
	s.node.snap.Listeners = []hostport.Listener{{Proto: hostport.TCP, Port: 87, Addr: netip.MustParseAddr("0.0.0.0"), Holder: hostport.Process{PID: 7, Comm: "nginx"}}}
	call()
	s.node.snap.Listeners = nil
	call()
	s.node.facts.IPVS = true
	call()
	s.node.facts.IPVS = false
	flush()
	s.in(place.NFTables).hates = one.key()
	call()
	s.in(place.NFTables).hates = ""
	s.node.lookErr = errBroken
	call()
	s.node.lookErr = nil
	s.dies(one)
	s.blind(true)
	flush()
	call()
	s.blind(false)
	if err := s.Del(s.args(two, "")); err != nil {
		s.t.Fatal(err)
	}
	if err := s.Del(s.args(one, "")); err != nil {
		s.t.Fatal(err)
	}
	s.stderr.Reset()
}
