// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/backend/nftables/elements"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
)

// inNetns calls f in a network namespace of its own, which goes with its thread.
func inNetns(t *testing.T, f func()) {
	t.Helper()
	need.Root(t)
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			f()
		}
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
}

// pod is one with everything, and with conditions if only is not "".
func pod(id string, port uint16, last byte, only string) hostport.Attachment {
	a := hostport.Attachment{Owner: hostport.Owner{Network: "net", ContainerID: id, IfName: "eth0"},
		Pods:     []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 88, 0, last}), 16), netip.MustParsePrefix(fmt.Sprintf("fd00:88::%d/64", last))},
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.88.0.0/16"), netip.MustParsePrefix("2001:db8::/64")},
		Excludes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/13")},
		Carves:   []hostport.Carve{{Addr: netip.MustParseAddr("192.0.2.7"), Proto: hostport.TCP, Port: port}},
		Flows: []hostport.Flow{{Local: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Peer: netip.MustParseAddrPort("192.0.2.9:53")},
			{Local: netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), port), Peer: netip.MustParseAddrPort("[2001:db8::9]:53")}},
		SNAT: true, Localhost: true, Link: "cni0"}
	for _, f := range hostport.Families() {
		a.Mappings = append(a.Mappings, hostport.Mapping{Family: f, Proto: hostport.TCP, HostPort: port, ContainerPort: 80},
			hostport.Mapping{Family: f, Proto: hostport.UDP, HostPort: port, ContainerPort: 53})
	}
	a.Mappings = append(a.Mappings, hostport.Mapping{Family: hostport.IPv4, HostIP: netip.MustParseAddr("192.0.2.1"), Proto: hostport.SCTP, HostPort: port, ContainerPort: 1})
	if only != "" {
		a.ConditionsV4 = []string{"ip saddr " + only}
	}
	return a
}

// picture is what the kernel has of the table.
func picture(t *testing.T) string {
	t.Helper()
	table, err := elements.Spec().Read(nftconn.NewReader())
	if err != nil {
		t.Error(err)
		return ""
	}
	out := []string{fmt.Sprintf("there: %t, broken: %q, chains: %q", table.There, table.Broken, table.Chains())}
	for _, e := range table.Elements(func(nfttable.Element) bool { return true }) {
		out = append(out, e.Set+" "+table.Spec.Text(e))
	}
	return strings.Join(out, "\n")
}

func apply(b backend.Backend, change func(backend.State) backend.State) error {
	have, err := b.Load()
	if err == nil {
		err = b.Apply(have, change(have))
	}
	return err
}

// What is written is what is read, and after the last one is gone nothing is there.
func TestLife(t *testing.T) {
	inNetns(t, func() {
		b, before := New(nftconn.Open(), hostport.Everywhere()), picture(t)
		one, two := pod("one", 8080, 5, ""), pod("two", 8081, 6, "192.0.2.2")
		for _, a := range []hostport.Attachment{one, two, one} {
			if err := apply(b, func(s backend.State) backend.State { return s.With(a) }); err != nil {
				t.Error(err)
			}
		}
		s, err := b.Load()
		if err != nil {
			t.Error(err)
			return
		}
		if lost := append(append(s.Missing(one), s.Missing(two)...), s.(*elements.State).Misplaced()...); len(lost) > 0 {
			t.Errorf("lost: %q", lost)
		}
		for _, c := range s.Claims() {
			if c.Packets != 0 {
				t.Errorf("nobody counts: %+v", c)
			}
		}
		for _, a := range []hostport.Attachment{one, two, one} {
			if err := apply(b, func(s backend.State) backend.State { return s.Without(a.Owner.Key()) }); err != nil {
				t.Error(err)
			}
		}
		if d := cmp.Diff(before, picture(t)); d != "" {
			t.Errorf("left (-before +after)\n%s", d)
		}
	})
}

var errInjected = errors.New("injected")

// A flaky kernel fails at one call, or at all from there on.
type flaky struct {
	kernel
	failAt  *int
	forever bool
}

func (f flaky) fails() bool {
	now := *f.failAt == 0
	if !now || !f.forever {
		*f.failAt--
	}
	return now
}

func (f flaky) apply(b *nft.Batch) error {
	if !b.Empty() && f.fails() {
		return errInjected
	}
	return f.kernel.apply(b)
}

func (f flaky) runScript(s string) error {
	if f.fails() {
		return errInjected
	}
	return f.kernel.runScript(s)
}

// Whatever step of a change fails, all is as it was before.
func TestEveryStepMayFail(t *testing.T) {
	one, two := pod("one", 8080, 5, ""), pod("two", 8081, 6, "192.0.2.2")
	for name, tt := range map[string]struct {
		have   []hostport.Attachment
		change func(backend.State) backend.State
	}{
		"a first ADD":          {nil, func(s backend.State) backend.State { return s.With(two) }},
		"another ADD":          {[]hostport.Attachment{one}, func(s backend.State) backend.State { return s.With(two) }},
		"other ports":          {[]hostport.Attachment{one}, func(s backend.State) backend.State { return s.With(pod("one", 9090, 5, "192.0.2.2")) }},
		"other conditions":     {[]hostport.Attachment{two}, func(s backend.State) backend.State { return s.With(pod("two", 8081, 6, "192.0.2.3")) }},
		"no conditions":        {[]hostport.Attachment{two}, func(s backend.State) backend.State { return s.With(pod("two", 8081, 6, "")) }},
		"instead":              {[]hostport.Attachment{one, two}, func(s backend.State) backend.State { return s.With(pod("new", 8081, 7, "192.0.2.3"), two.Owner.Key()) }},
		"the last DEL":         {[]hostport.Attachment{two}, func(s backend.State) backend.State { return s.Without(two.Owner.Key()) }},
		"a DEL beside another": {[]hostport.Attachment{one, two}, func(s backend.State) backend.State { return s.Without(two.Owner.Key()) }},
	} {
		for at, failed := 0, true; failed; at++ {
			inNetns(t, func() {
				for _, a := range tt.have {
					if err := apply(New(nftconn.Open(), hostport.Everywhere()), func(s backend.State) backend.State { return s.With(a) }); err != nil {
						t.Error(err)
					}
				}
				before, step := picture(t), at
				err := apply(newBackend(flaky{netlink{nftconn.Open()}, &step, false}, hostport.Everywhere()), tt.change)
				failed = err != nil
				if d := cmp.Diff(before, picture(t)); failed && (d != "" || !errors.Is(err, errInjected) || errors.Is(err, backend.ErrNotUndone)) {
					t.Errorf("%s, step %d: %v (-before +after)\n%s", name, at, err, d)
				}
			})
		}
	}
}

// If bringing it back fails too, that is said.
func TestNotUndone(t *testing.T) {
	for _, step := range []int{0, 1} {
		inNetns(t, func() {
			at := step
			err := apply(newBackend(flaky{netlink{nftconn.Open()}, &at, true}, hostport.Everywhere()), func(s backend.State) backend.State { return s.With(pod("a", 8080, 5, "192.0.2.2")) })
			if !errors.Is(err, errInjected) || errors.Is(err, backend.ErrNotUndone) != (step > 0) {
				t.Errorf("step %d: %v", step, err)
			}
		})
	}
}

// The guard keeps what it is told.
func TestGuard(t *testing.T) {
	inNetns(t, func() {
		g := NewGuard(nftconn.Open(), host.Links{})
		for _, want := range []map[string]localnet.Link{{"lo": {}}, {"lo": {}}, {}} {
			if err := g.Apply(nil, want); err != nil {
				t.Error(err)
			}
			got, err := g.Load()
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("%v (-want +got)\n%s", err, d)
			}
		}
		if table, err := elements.GuardSpec().Read(nftconn.NewReader()); err != nil || table.There {
			t.Errorf("the table is left: %v", err)
		}
	})
}

// The sysctl is on as long as somebody needs it, also after the guard was flushed.
func TestLocalnet(t *testing.T) {
	inNetns(t, func() {
		a := pod("a", 8080, 5, "")
		a.Link = "lo"
		b := localnet.New(host.Sysctls{}, NewGuard(nftconn.Open(), host.Links{}))
		b.Records = func() []hostport.Attachment { return []hostport.Attachment{a} }
		for _, flushed := range []string{"", "flush set inet portguard-localnet guarded", "flush ruleset"} {
			if err := apply(b, func(s backend.State) backend.State { return s.With(a) }); err != nil {
				t.Error(err)
			}
			if on, err := (host.Sysctls{}).RouteLocalnet("lo"); err != nil || !on {
				t.Errorf("route_localnet is %t, %v", on, err)
			}
			if s, err := b.Load(); err != nil || len(s.Missing(a)) > 0 {
				t.Errorf("missing %q, %v", s.Missing(a), err)
			}
			if flushed != "" {
				if err := nftconn.RunScript(flushed); err != nil {
					t.Error(err)
				}
			}
			if err := apply(b, func(s backend.State) backend.State { return s.Without(a.Owner.Key()) }); err != nil {
				t.Error(err)
			}
			on, err := (host.Sysctls{}).RouteLocalnet("lo")
			table, rerr := elements.GuardSpec().Read(nftconn.NewReader())
			if err != nil || rerr != nil || on || table.There {
				t.Errorf("after DEL (%s) route_localnet is %t, the table is there: %t, %v, %v", flushed, on, table.There, err, rerr)
			}
		}
	})
}

// A stranger's table stays as it is: DEL goes by, ADD says what to do.
func TestStranger(t *testing.T) {
	inNetns(t, func() {
		if err := nftconn.RunScript("add table inet portguard; add set inet portguard ports4 { type ipv4_addr; }\nadd table inet portguard-localnet\n"); err != nil {
			t.Error(err)
			return
		}
		a := pod("a", 8080, 5, "")
		if err := apply(New(nftconn.Open(), hostport.Everywhere()), func(s backend.State) backend.State { return s.Without(a.Owner.Key()) }); err != nil {
			t.Errorf("DEL: %v", err)
		}
		err := apply(New(nftconn.Open(), hostport.Everywhere()), func(s backend.State) backend.State { return s.With(a) })
		if !errors.Is(err, nfttable.ErrVersion) || !strings.Contains(err.Error(), "nft delete table inet portguard)") {
			t.Errorf("ADD: %v", err)
		}
		g := NewGuard(nftconn.Open(), host.Links{})
		if links, err := g.Load(); err != nil || len(links) > 0 {
			t.Errorf("the guard has %v, %v", links, err)
		}
		if err := g.Apply(nil, map[string]localnet.Link{}); err != nil {
			t.Errorf("no guard: %v", err)
		}
		if err := g.Apply(nil, map[string]localnet.Link{"lo": {}}); !errors.Is(err, nfttable.ErrVersion) {
			t.Errorf("a guard: %v", err)
		}
	})
}

// A kernel that lacks something is told from other failures.
func TestLacking(t *testing.T) {
	err := lacking(elements.Spec().Absent(), fmt.Errorf("could not change nftables: add set ports4 of table inet portguard: %w", unix.EOPNOTSUPP))
	if !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, nftconn.ErrNoKernel) || !errors.Is(err, unix.EOPNOTSUPP) {
		t.Error(err)
	}
	there := (&elements.State{Table: elements.Spec().Absent()}).With(pod("a", 1, 5, "")).(*elements.State).Table
	if err := lacking(there, unix.ENOENT); errors.Is(err, backend.ErrUnavailable) {
		t.Error(err)
	}
}
