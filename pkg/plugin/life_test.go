// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// Of whom nobody can tell whether it lives nothing is taken, by no verb, and each says so.
func TestNobodyCanTell(t *testing.T) {
	b := newBench(t)
	web, next := b.pod("web"), b.pod("next")
	b.mustAdd(web, 80, "")
	b.dies(web)
	b.blind(true)
	const says = "nobody can tell from here whether it lives: the processes of the node are not seen from here"
	if err := b.add(next, 80, ""); code(err) != 101 || !strings.Contains(err.Error(), "container web") || !strings.Contains(err.Error(), says) {
		t.Errorf("ADD: %v", err)
	}
	if done, err := b.Sweep(b.dataDir, b.dir, 1e9, false); err != nil || len(done) != 1 || !strings.Contains(done[0].Said(), says) {
		t.Errorf("gc: %+v, %v", done, err)
	}
	if err := b.GC(b.args(web, `,"cni.dev/valid-attachments":[]`)); err != nil || !strings.Contains(b.errs.String(), says) {
		t.Errorf("GC: %v, %q", err, b.errs.String())
	}
	delete(b.in(place.NFTables).now.has, web.key())
	if done, err := b.Restore(b.conf()); err != nil || len(done) != 1 || !strings.Contains(done[0].String(), says) {
		t.Errorf("restore: %+v, %v", done, err)
	}
	b.wantIn(web, "localnet")
	if !b.store.Has(web.key()) {
		t.Fatal("the record is gone")
	}
	b.blind(false)
	b.mustAdd(next, 80, "")
	b.wantIn(web)
}

// A boot is another one only if both are known.
func TestOtherBoot(t *testing.T) {
	b := newBench(t)
	web, next := b.pod("web"), b.pod("next")
	b.mustAdd(web, 80, "")
	b.node.boot = "" // no /proc
	if err := b.add(next, 80, ""); code(err) != 101 {
		t.Errorf("without a boot: %v", err)
	}
	b.node.boot = "another" // or the ID is covered
	if err := b.add(next, 80, ""); code(err) != 101 {
		t.Errorf("with its namespace where it was: %v", err)
	}
	b.dies(web)
	b.mustAdd(next, 80, "")
	b.wantIn(web)
}

// After a flush the records of the living keep their ports, those that lack rules.
func TestFlushedPortIsNotFree(t *testing.T) {
	b := newBench(t)
	web, next, dead := b.pod("web"), b.pod("next"), b.pod("dead")
	b.mustAdd(web, 80, "")
	b.mustAdd(dead, 81, "")
	for _, p := range []pod{web, dead} {
		delete(b.in(place.NFTables).now.has, p.key())
	}
	if err := b.add(next, 80, ""); code(err) != 101 || !strings.Contains(err.Error(), "its rules are gone") {
		t.Errorf("ADD after a flush: %v", err)
	}
	b.mustAdd(next, 82, "")
	b.dies(dead)
	b.mustAdd(next, 81, "")
	if b.store.Has(dead.key()) {
		t.Error("the record of the dead stays")
	}
	b.mustAdd(web, 80, "") // its own
	if done, err := b.Restore(b.conf()); err != nil || len(done) != 2 || done[0].Refused+done[1].Refused != "" {
		t.Errorf("restore: %+v, %v", done, err)
	}

	both := b.in(place.NFTables).now.has[web.key()]
	both.Mappings = append(slices.Clone(both.Mappings), hostport.Mapping{Family: hostport.IPv4, HostIP: netip.MustParseAddr("192.0.2.1"), Proto: hostport.TCP, HostPort: 83})
	rec, err := b.store.Load(web.key())
	if err != nil {
		t.Fatal(err)
	}
	rec.Attachment = both
	b.save(*rec) // the node has the mappings of one map only
	if err := b.add(b.pod("third"), 83, ""); code(err) != 101 || !strings.Contains(err.Error(), "its rules are gone") {
		t.Errorf("ADD after the flush of a map: %v", err)
	}
}

// Two that lack their rules do not keep each other from being restored.
func TestRestoreOfTwo(t *testing.T) {
	b := newBench(t)
	first, second := b.pod("first"), b.pod("second")
	b.mustAdd(first, 80, "")
	rec, err := b.store.Load(first.key())
	if err != nil {
		t.Fatal(err)
	}
	rec.Attachment.Owner, rec.Netns = second.owner(), second.netns
	b.save(*rec)
	delete(b.in(place.NFTables).now.has, first.key())
	done, err := b.Restore(b.conf())
	if err != nil || len(done) != 2 || done[0].Put == done[1].Put {
		t.Errorf("restored %+v, %v", done, err)
	}
}

// addPatiently is an ADD that may wait.
func (b *bench) addPatiently(p pod, port int, more string) (time.Duration, error) {
	b.t.Helper()
	start := time.Now()
	err := b.Plugin.addPatiently(b.request(p, port, more), b.store, p.netns)
	return time.Since(start), err
}

// A live pod is waited for, whatever way it goes, without the lock.
func TestClaimWait(t *testing.T) {
	for name, goes := range map[string]func(b *bench, p pod) error{
		"deleted": func(b *bench, p pod) error { return New(b.node, nil, &strings.Builder{}).Del(b.args(p, "")) },
		"dead":    func(b *bench, p pod) error { b.dies(p); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			first, second := b.pod("first"), b.pod("second")
			b.mustAdd(first, 80, "")
			var wg sync.WaitGroup
			wg.Go(func() {
				time.Sleep(300 * time.Millisecond)
				if err := goes(b, first); err != nil {
					t.Error(err)
				}
			})
			took, err := b.addPatiently(second, 80, `,"claimWait":"30s"`)
			wg.Wait()
			if err != nil || took < 250*time.Millisecond || took > 10*time.Second {
				t.Errorf("ADD after %v: %v", took, err)
			}
			b.wantIn(second, "localnet", place.NFTables)
			if c := b.store.Counters("boot"); len(c.Refusals) > 0 {
				t.Errorf("an ADD that worked counts as refused: %v", c.Refusals)
			}
		})
	}
}

// The wait ends, and there is none for what will not go.
func TestClaimWaitEnds(t *testing.T) {
	b := newBench(t)
	first, second := b.pod("first"), b.pod("second")
	b.mustAdd(first, 80, "")
	took, err := b.addPatiently(second, 80, `,"claimWait":"300ms"`)
	if code(err) != 101 || took < 300*time.Millisecond {
		t.Errorf("after %v: %v", took, err)
	}
	if c := b.store.Counters("boot"); c.Refusals["hostPort"] != 1 {
		t.Errorf("one refusal is counted as %v", c.Refusals)
	}
	if took, err := b.addPatiently(second, 80, `,"claimWait":"0s"`); code(err) != 101 || took > 200*time.Millisecond {
		t.Errorf("without a wait, after %v: %v", took, err)
	}
	b.node.alone = true
	if took, err := b.addPatiently(second, 80, `,"claimWait":"30s"`); code(err) != 101 || took > 10*time.Second {
		t.Errorf("while nobody can go, after %v: %v", took, err)
	}
	b.node.alone = false
	b.node.snap.Listeners = []hostport.Listener{{Proto: hostport.TCP, Addr: hostport.IPv4.Wildcard(), Port: 80}}
	if took, err := b.addPatiently(second, 80, `,"claimWait":"30s"`); code(err) != 100 || took > 10*time.Second {
		t.Errorf("beside a listener, after %v: %v", took, err)
	}
	b.node.snap.Listeners = nil
	b.dies(first)
	b.blind(true)
	if took, err := b.addPatiently(second, 80, `,"claimWait":"30s"`); code(err) != 101 || took > 10*time.Second {
		t.Errorf("for one of which nobody can tell, after %v: %v", took, err)
	}
}

// lives are the reasons why nobody can tell whether an owner lives.
func (s *script) lives() {
	s.Section("nobody can tell whether an owner lives")
	p := s.pod("web")
	s.mustAdd(p, 99, "")
	s.dies(p)
	gc := func() {
		if err := s.GC(s.args(p, `,"cni.dev/valid-attachments":[]`)); err != nil {
			s.t.Error(err)
		}
		s.warned()
	}
	s.blind(true)
	gc()
	s.blind(false)
	net := filepath.Join(s.node.proc, "9/ns/net") // no link, so it cannot be read
	if err := os.MkdirAll(net, 0o700); err != nil {
		s.t.Fatal(err)
	}
	gc()
	if err := os.RemoveAll(filepath.Join(s.node.proc, "9")); err != nil {
		s.t.Fatal(err)
	}
	init := filepath.Join(s.node.proc, "1")
	if err := os.Rename(init, init+"x"); err != nil {
		s.t.Fatal(err)
	}
	gc()
	if err := os.Rename(init+"x", init); err != nil {
		s.t.Fatal(err)
	}
	rec, err := s.store.Load(p.key())
	if err != nil {
		s.t.Fatal(err)
	}
	rec.Netns.View = state.View{Mount: 5, PID: 4026531836}
	s.save(*rec)
	s.mountinfo("60 59 0:4 mnt:[5] /run/mnt rw - nsfs nsfs rw\n")
	gc()
	s.mountinfo("")
	rec.Netns.View.Mount, rec.Netns.Path = 0, strings.Repeat("x", 300)
	s.save(*rec)
	gc()
	if err := s.store.Delete(p.key()); err != nil {
		s.t.Fatal(err)
	}
	nft := s.in(place.NFTables)
	a := nft.now.has[p.key()]
	a.Owner.Netns = 0 // as rules of an early version
	nft.now.has[p.key()] = a
	gc()
	if err := s.Del(s.args(p, "")); err != nil {
		s.t.Error(err)
	}
}
