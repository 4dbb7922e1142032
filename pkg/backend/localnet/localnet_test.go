// SPDX-License-Identifier: Apache-2.0

package localnet

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func missing(t *testing.T, b *Backend, a hostport.Attachment) []string {
	t.Helper()
	s, err := b.Load()
	must(t, err)
	return s.Missing(a)
}

// The guard comes before the sysctl is on and goes after it is off, and each comes with
// the first user and goes with the last.
func TestLife(t *testing.T) {
	n := newNode("cni0")
	b := n.backend("nft")
	one, two := pod("one", "10.88.0.5", "cni0", false), pod("two", "10.88.0.6", "cni0", true)
	before := n.picture()
	for _, step := range []struct {
		name   string
		change func(backend.State) backend.State
		want   []string
	}{
		{"a first user", add(one), []string{"guard nft [cni0]", "cni0 true"}},
		{"the same again", add(one), nil},
		{"a second user", add(two), nil},
		{"the first goes", del(one), nil},
		{"it goes again", del(one), nil},
		{"somebody else goes", del(pod("other", "10.88.0.9", "cni0", false)), nil},
		{"the last goes", del(two), []string{"cni0 false", "guard nft []"}},
	} {
		n.done = nil
		must(t, apply(b, step.change))
		if d := cmp.Diff(step.want, n.done); d != "" {
			t.Errorf("%s (-want +got)\n%s", step.name, d)
		}
	}
	if now := n.picture(); now != before {
		t.Errorf("left:\n%s", now)
	}
}

// What was on before stays as it is, without a guard, and an attachment that needs nothing
// changes nothing.
func TestWas(t *testing.T) {
	n := newNode("cni0", "up")
	n.on["up"] = true
	a := pod("a", "10.88.0.5", "up", true)
	b := n.backend("nft", a)
	must(t, apply(b, add(a)))
	must(t, apply(b, del(a)))
	must(t, apply(b, add(a)))
	if lost := missing(t, b, a); len(lost) > 0 || len(n.done) > 0 {
		t.Errorf("missing %q, done %q", lost, n.done)
	}
	n.on["up"] = false // by somebody
	if lost := missing(t, b, a); len(lost) != 1 {
		t.Errorf("missing %q", lost)
	}
	must(t, apply(b, add(a)))
	must(t, apply(b, del(a)))
	if d := cmp.Diff([]string{"guard nft [up]", "up true", "up false", "guard nft []"}, n.done); d != "" {
		t.Error(d)
	}
	b, n.done = n.backend("nft"), nil
	for _, a := range []hostport.Attachment{{Owner: a.Owner, Localhost: true, Link: "cni0"}, {Owner: a.Owner, Pods: a.Pods, Link: "cni0"}, {Owner: a.Owner, Pods: a.Pods, Localhost: true}} {
		must(t, apply(b, add(a)))
		if lost := missing(t, b, a); len(lost) > 0 || len(n.done) > 0 {
			t.Errorf("%+v: missing %q, done %q", a, lost, n.done)
		}
	}
}

// An attachment that another one follows, or that goes to another link or another
// guard.
func TestMoves(t *testing.T) {
	a := pod("a", "10.88.0.5", "cni0", false)
	for _, tt := range []struct {
		name   string
		into   string
		change func(backend.State) backend.State
		want   []string
	}{
		{"to another link", "nft", add(pod("a", "10.88.0.5", "cni1", false)), []string{"cni0 false", "guard nft [cni1]", "cni1 true"}},
		{"to another guard", "ipt", add(a), []string{"guard ipt [cni0]", "guard nft []"}},
		{"to somebody else", "nft", add(pod("b", "10.88.0.6", "cni0", true), a.Owner.Key()), nil},
		{"no more localhost", "nft", add(hostport.Attachment{Owner: a.Owner, Pods: a.Pods}), []string{"cni0 false", "guard nft []"}},
	} {
		n := newNode("cni0", "cni1")
		must(t, apply(n.backend("nft"), add(a)))
		n.done = nil
		must(t, apply(n.backend(tt.into), tt.change))
		if d := cmp.Diff(tt.want, n.done); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
	}
}

// A user in another backend keeps the sysctl on, and the guard, which knows what it was.
func TestTwoGuards(t *testing.T) {
	n := newNode("cni0")
	stays, goes := pod("stays", "10.88.0.5", "cni0", false), pod("goes", "10.88.0.6", "cni0", true)
	must(t, apply(n.backend("ipt"), add(stays)))
	must(t, apply(n.backend("nft"), add(goes)))
	must(t, apply(n.backend("nft"), del(goes)))
	if !n.on["cni0"] || len(n.guards["nft"])+len(n.guards["ipt"]) != 1 {
		t.Errorf("after the first:\n%s", n.picture())
	}
	must(t, apply(n.backend("nft"), del(stays)))
	if n.on["cni0"] || len(n.guards["nft"])+len(n.guards["ipt"]) > 0 {
		t.Errorf("after the last:\n%s", n.picture())
	}
}

func TestMissing(t *testing.T) {
	said := golden.New(t)
	said.Section("what CHECK finds lost of route_localnet, as the plugin puts it behind whose hostPorts it is")
	a, b := pod("a", "10.88.0.5", "cni0", false), pod("b", "10.88.0.6", "cni0", false)
	for _, tt := range []struct {
		name  string
		spoil func(*node)
		want  string
	}{
		{"nothing", func(*node) {}, ""},
		{"all", func(n *node) { n.guards["nft"] = nil }, "the guard that keeps others from 127.0.0.0/8 over cni0 is missing"},
		{"its rules", func(n *node) {
			n.guards["nft"]["cni0"] = Link{Broken: []string{"table inet portguard-localnet: chain gate is not as installed"}}
		}, "table inet portguard-localnet: chain gate is not as installed"},
		{"the sysctl", func(n *node) { n.on["cni0"] = false }, "route_localnet of cni0 is off, so localhost does not reach the pod"},
	} {
		n := newNode("cni0")
		must(t, apply(n.backend("nft"), add(a)))
		tt.spoil(n)
		lost := missing(t, n.backend("nft", a), a)
		if got := strings.Join(lost, "; "); got != tt.want {
			t.Errorf("%s: missing %q, want %q", tt.name, got, tt.want)
		}
		for _, l := range lost {
			said.Add("110", l)
		}
		must(t, apply(n.backend("nft", a), add(b)))
		must(t, apply(n.backend("nft", a), add(a)))
		if lost := missing(t, n.backend("nft", a), a); len(lost) > 0 {
			t.Errorf("%s: still missing %q", tt.name, lost)
		}
		must(t, apply(n.backend("nft", a), del(a, b)))
		if n.on["cni0"] || len(n.guards["nft"]) > 0 {
			t.Errorf("%s: left\n%s", tt.name, n.picture())
		}
	}
	said.Check(*update)
}

func TestRecover(t *testing.T) {
	n := newNode("cni0")
	a := pod("a", "10.88.0.5", "cni0", true)
	n.on["cni0"] = true
	must(t, apply(n.backend("ipt"), add(a)))
	s, err := n.backend("nft").Load()
	must(t, err)
	got, ok := s.Recover(a.Owner.Key())
	if !ok || got.Link != "cni0" || !got.Localhost || !got.LocalnetWas {
		t.Errorf("recovered %t %+v", ok, got)
	}
	if _, ok := s.Recover(pod("other", "10.88.0.9", "cni0", false).Owner.Key()); ok {
		t.Error("somebody who is not there is recovered")
	}
}

// Whatever step of a change fails, all is as it was before; and if that fails too, it is
// said.
func TestEveryStepMayFail(t *testing.T) {
	a, b := pod("a", "10.88.0.5", "cni0", false), pod("b", "10.88.0.6", "cni1", false)
	third := pod("third", "10.88.0.7", "cni2", false)
	changes := map[string]func(backend.State) backend.State{
		"add":         add(third),
		"add instead": add(third, a.Owner.Key(), b.Owner.Key()),
		"remove both": del(a, b),
		"move":        add(pod("b", "10.88.0.6", "cni2", false)),
	}
	for name, change := range changes {
		for at, failed := 0, true; failed; at++ {
			for _, forever := range []bool{false, true} {
				n := newNode("cni0", "cni1", "cni2")
				must(t, apply(n.backend("nft"), add(a)))
				must(t, apply(n.backend("ipt"), add(b)))
				before := n.picture()
				n.failAt, n.forever, n.done = at, forever, nil
				err := apply(n.backend("nft"), change)
				if failed = err != nil; !failed {
					continue
				}
				if !errors.Is(err, errInjected) {
					t.Fatal(err)
				}
				switch now := n.picture(); {
				case !forever && (now != before || errors.Is(err, backend.ErrNotUndone)):
					t.Errorf("%s, step %d: %v\nbefore\n%s\nnow\n%s", name, at, err, before, now)
				case forever && errors.Is(err, backend.ErrNotUndone) != (at > 0):
					t.Errorf("%s, step %d fails for ever: %v", name, at, err)
				}
			}
		}
	}
}

// States do not change.
func TestImmutable(t *testing.T) {
	n := newNode("cni0")
	a, b := pod("a", "10.88.0.5", "cni0", false), pod("b", "10.88.0.6", "cni0", false)
	must(t, apply(n.backend("nft"), add(a)))
	s, err := n.backend("nft").Load()
	must(t, err)
	want := s.With(b)
	_, _ = s.Without(a.Owner.Key()).With(pod("c", "10.88.0.5", "cni1", true)), want.Without(b.Owner.Key(), a.Owner.Key())
	if lost := slices.Concat(s.Missing(a), want.Missing(a), want.Missing(b)); len(lost) > 0 {
		t.Errorf("lost %q", lost)
	}
	if _, ok := s.Recover(b.Owner.Key()); ok {
		t.Error("With changed its receiver")
	}
}

// The way back from what was wanted is a change like others.
func TestBackAgain(t *testing.T) {
	n := newNode("cni0")
	b := n.backend("nft")
	have, err := b.Load()
	if err != nil {
		t.Fatal(err)
	}
	before, want := n.picture(), have.With(pod("a", "10.88.0.5", "cni0", false))
	if err := b.Apply(have, want); err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(want, have); err != nil {
		t.Fatal(err)
	}
	if after := n.picture(); after != before {
		t.Errorf("it is %s, and was %s", after, before)
	}
}

// WithAll is With for one after the other.
func TestWithAll(t *testing.T) {
	as := []hostport.Attachment{pod("one", "10.88.0.5", "cni0", false), pod("two", "10.88.0.6", "cni0", false), pod("three", "10.89.0.7", "veth1", false), pod("four", "10.89.0.8", "up", true)}
	before := pod("before", "10.88.0.9", "cni0", false)
	var pictures []string
	for _, with := range []func(backend.State) backend.State{
		func(s backend.State) backend.State {
			s = s.Without(before.Owner.Key())
			for _, a := range as {
				s = s.With(a)
			}
			return s
		},
		func(s backend.State) backend.State { return s.WithAll(as, before.Owner.Key()) },
	} {
		n := newNode("cni0", "veth1", "up")
		n.on["up"] = true
		b := n.backend("nft")
		must(t, apply(b, add(before)))
		must(t, apply(b, with))
		pictures = append(pictures, n.picture())
	}
	if d := cmp.Diff(pictures[0], pictures[1]); d != "" || pictures[0] == "" {
		t.Errorf("(-one after the other +at once)\n%s", d)
	}
}
