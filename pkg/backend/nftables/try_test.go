// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/nftables/elements"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
)

// What is tried is what is done, and nothing of it stays.
func TestTry(t *testing.T) {
	inNetns(t, func() {
		b, one, r := New(nftconn.Open(), hostport.Everywhere()), pod("one", 8080, 5, ""), nftconn.NewReader()
		conditional := pod("one", 8080, 5, "192.0.2.2")
		for _, have := range []string{"nothing", "another"} {
			before := picture(t)
			gen, err := r.Generation()
			s, lerr := b.Load()
			if err != nil || lerr != nil {
				t.Error(err, lerr)
				return
			}
			for _, a := range []hostport.Attachment{one, conditional} {
				if err := b.Try(s, s.With(a)); err != nil {
					t.Errorf("with %s there: %v", have, err)
				}
			}
			if now, err := r.Generation(); err != nil || now != gen || picture(t) != before {
				t.Errorf("with %s there something was changed: %d, %d, %v\n%s", have, gen, now, err, picture(t))
			}
			if err := apply(b, func(s backend.State) backend.State { return s.With(pod("two", 8081, 6, "")) }); err != nil {
				t.Error(err)
			}
		}
		if err := nftconn.RunScript("delete table inet portguard; add table inet portguard; add set inet portguard ports4 { type ipv4_addr; }\n"); err != nil {
			t.Error(err)
		}
		if s, err := b.Load(); err != nil || !errors.Is(b.Try(s, s.With(one)), nfttable.ErrVersion) {
			t.Errorf("a stranger's table: %v", err)
		}
	})
}

// A narrow kernel takes batches of few messages.
type narrow struct{ kernel }

func (n narrow) apply(b *nft.Batch) error {
	if b.Len() > 7 {
		return unix.EMSGSIZE
	}
	return n.kernel.apply(b)
}

// A change that is too long for one message is made in parts, and all or nothing too.
func TestInParts(t *testing.T) {
	var whole, before string
	add := func(s backend.State) backend.State { return s.With(pod("one", 8080, 5, "")) }
	inNetns(t, func() {
		before = picture(t)
		if err := apply(New(nftconn.Open(), hostport.Everywhere()), add); err != nil {
			t.Error(err)
		}
		whole = picture(t)
	})
	inNetns(t, func() {
		for _, failAt := range []int{5, -1} {
			want := whole
			if failAt >= 0 {
				want = before
			}
			step := failAt
			err := apply(newBackend(narrow{flaky{netlink{nftconn.Open()}, &step, false}}, hostport.Everywhere()), add)
			if d := cmp.Diff(want, picture(t)); d != "" || (err != nil) != (failAt >= 0) || errors.Is(err, backend.ErrNotUndone) {
				t.Errorf("failing at %d: %v (-want +got)\n%s", failAt, err, d)
			}
		}
		gone := func(s backend.State) backend.State { return s.Without(pod("one", 8080, 5, "").Owner.Key()) }
		if err := apply(newBackend(narrow{netlink{nftconn.Open()}}, hostport.Everywhere()), gone); err != nil || picture(t) != before {
			t.Errorf("DEL: %v, left %s", err, picture(t))
		}
	})
}

// A deaf kernel has no expression "socket", as that of some distributions for containers.
type deaf struct{ kernel }

func (d deaf) lacks(b *nft.Batch) error {
	if bytes.Contains(b.Encode(true), []byte("socket\x00")) {
		return fmt.Errorf("chain established: %w", unix.ENOENT)
	}
	return nil
}

func (d deaf) apply(b *nft.Batch) error {
	if err := d.lacks(b); err != nil {
		return err
	}
	return d.kernel.apply(b)
}

func (d deaf) try(b *nft.Batch) error {
	if err := d.lacks(b); err != nil {
		return err
	}
	return d.kernel.try(b)
}

// There a skeleton that looks for no socket does, also where an older version had made its
// own, and nobody misses anything.
func TestWithoutSockets(t *testing.T) {
	inNetns(t, func() {
		before := picture(t)
		b, one, two := newBackend(deaf{netlink{nftconn.Open()}}, hostport.Everywhere()), pod("one", 8080, 5, ""), pod("two", 8081, 6, "192.0.2.2")
		for i, a := range []hostport.Attachment{one, two, one} {
			s, err := b.Load()
			if err == nil {
				err = b.Try(s, s.With(a))
			}
			if err == nil {
				err = b.Apply(s, s.With(a))
			}
			if err != nil {
				t.Error(err)
				return
			}
			if s, err = b.Load(); err != nil || len(s.Missing(a)) > 0 || len(s.(*elements.State).Misplaced()) > 0 {
				t.Errorf("%v, missing %q", err, s.Missing(a))
			}
			if i == 1 {
				if err := nftconn.RunScript("flush chain inet portguard prerouting\ndelete chain inet portguard established\n"); err != nil {
					t.Error(err)
				}
			}
		}
		for _, a := range []hostport.Attachment{one, two} {
			if err := apply(b, func(s backend.State) backend.State { return s.Without(a.Owner.Key()) }); err != nil {
				t.Error(err)
			}
		}
		if now := picture(t); now != before {
			t.Errorf("left %s", now)
		}
	})
}
