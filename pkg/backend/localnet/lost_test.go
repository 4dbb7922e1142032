// SPDX-License-Identifier: Apache-2.0

package localnet

import (
	"testing"

	"github.com/portguard/portguard/pkg/backend"
)

// Somebody flushed the guards while the sysctl is on.
func TestFlushed(t *testing.T) {
	one, two := pod("one", "10.88.0.5", "cni0", false), pod("two", "10.88.0.6", "cni0", false)
	flushed := func() *node {
		n := newNode("cni0")
		n.on["cni0"] = true
		return n
	}
	n := flushed()
	must(t, apply(n.backend("nft", one, two), del(one)))
	if !n.on["cni0"] {
		t.Error("it is off although a record tells of a user")
	}
	must(t, apply(n.backend("nft", two), del(two)))
	if n.on["cni0"] {
		t.Error("it is on although the last user went")
	}

	n = flushed()
	late := pod("late", "10.88.0.7", "cni0", true)
	must(t, apply(n.backend("nft", one), add(late)))
	if _, guarded := n.guards["nft"]["cni0"]; !guarded {
		t.Error("what it was is asked of the sysctl that portguard switched on")
	}
	must(t, apply(n.backend("nft", one), del(late)))
	must(t, apply(n.backend("nft", one), add(one)))
	must(t, apply(n.backend("nft", one), del(one)))
	if n.on["cni0"] || len(n.guards["nft"]) > 0 {
		t.Errorf("at the end:\n%s", n.picture())
	}

	n = flushed()
	must(t, apply(n.backend("nft"), func(s backend.State) backend.State { return s.With(one).Without(one.Owner.Key()) }))
	if n.on["cni0"] {
		t.Error("it is on although the attachment told that it was off")
	}
	n = flushed()
	must(t, apply(n.backend("nft"), del(one)))
	if !n.on["cni0"] {
		t.Error("it is off although nobody told of the link")
	}
}

// A link that is gone needs no switching off, and can get no user.
func TestLinkIsGone(t *testing.T) {
	n := newNode("veth0")
	a := pod("a", "10.88.0.5", "veth0", false)
	must(t, apply(n.backend("nft"), add(a)))
	delete(n.on, "veth0")
	if lost := missing(t, n.backend("nft"), a); len(lost) != 1 {
		t.Errorf("missing: %q", lost)
	}
	must(t, apply(n.backend("nft"), del(a)))
	if n.picture() != "" {
		t.Errorf("left:\n%s", n.picture())
	}
	if err := apply(n.backend("nft"), add(a)); err == nil || n.picture() != "" {
		t.Errorf("ADD on a link that is not there: %v\n%s", err, n.picture())
	}
}

// A link that is gone keeps no other pod from what it needs, and one that cannot be switched on
// is told before.
func TestTryBesideALinkThatIsGone(t *testing.T) {
	n := newNode("veth0", "veth1")
	gone := pod("gone", "10.88.0.5", "veth0", false)
	must(t, apply(n.backend("nft"), add(gone)))
	delete(n.on, "veth0")
	b := n.backend("nft", gone)
	have, err := b.Load()
	must(t, err)
	must(t, b.Try(have, have.With(pod("other", "10.88.0.6", "veth1", false))))
	if b.Try(have, have.With(gone)) == nil {
		t.Error("a link that is gone could be switched on")
	}
}

// A record that names another link than its guard changes nothing there.
func TestStaleRecord(t *testing.T) {
	n := newNode("cni0", "cni1")
	a := pod("a", "10.88.0.5", "cni0", false)
	must(t, apply(n.backend("nft"), add(a)))
	n.on["cni1"], n.done = true, nil
	b := n.backend("nft", pod("a", "10.88.0.5", "cni1", false))
	must(t, apply(b, func(s backend.State) backend.State { return s }))
	must(t, apply(b, del(pod("b", "10.88.0.6", "cni1", false))))
	if len(n.done) > 0 {
		t.Errorf("done: %q", n.done)
	}
}

// Somebody was killed between the guard and the mappings, or flushed these: records tell
// who needs the link.
func TestOnlyRecordsTell(t *testing.T) {
	one, two := pod("one", "10.88.0.5", "cni0", false), pod("two", "10.88.0.6", "cni0", false)
	n := newNode("cni0")
	must(t, apply(n.backend("nft"), add(one)))
	n.users, n.done = nil, nil
	must(t, apply(n.backend("nft", two), del(pod("three", "10.88.0.7", "cni0", false))))
	must(t, apply(n.backend("nft", one, two), del(two)))
	must(t, apply(n.backend("nft"), del(two)))
	if len(n.done) > 0 {
		t.Errorf("done: %q", n.done)
	}
	must(t, apply(n.backend("nft", one), del(one)))
	if n.on["cni0"] || len(n.guards["nft"]) > 0 {
		t.Errorf("at the end:\n%s", n.picture())
	}
}

// A record that was written before somebody was killed names a link that the mappings do
// not: both are switched off.
func TestRecordOfAnotherLink(t *testing.T) {
	n := newNode("cni0", "cni1")
	before, after := pod("a", "10.88.0.5", "cni0", false), pod("a", "10.88.0.5", "cni1", false)
	must(t, apply(n.backend("nft"), add(before)))
	mapped := n.users
	must(t, apply(n.backend("nft"), add(after)))
	n.users = mapped
	must(t, apply(n.backend("nft", after), del(after)))
	if n.on["cni0"] || n.on["cni1"] || len(n.guards["nft"]) > 0 {
		t.Errorf("left:\n%s", n.picture())
	}
}
