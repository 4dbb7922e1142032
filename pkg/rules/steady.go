// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
)

// ErrChanging means that no reading was consistent.
var ErrChanging = errors.New("the nftables rules keep changing while they are read")

// Pauses between readings: a pod's setup takes a few transactions within milliseconds, and
// kube-proxy's last tens of them.
const (
	shortestPause = 2 * time.Millisecond
	longestPause  = 40 * time.Millisecond
)

// Steady calls f with r until what it read is consistent, which it is if nothing that was
// asked for has changed meanwhile. It listens to all transactions: those of others do not
// matter, and for a rule that moved only the chains that it left and came to are read again.
// If the kernel does not tell of all transactions, a reading counts when there was none, or
// when it was told the same as the one before it.
//
// It goes on for as long as wait allows, and at least once. What f returned for a reading
// that is not consistent is forgotten, an error too.
func Steady(wait time.Duration, r *Reader, f func(*Reader) error) error {
	var before *Reader
	until := time.Now().Add(wait)
	l, r := follow(r)
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		err := f(r)
		ok, failed := r.consistent(l, before, errors.Is(err, unix.EINTR))
		if failed != nil {
			return failed
		}
		if ok {
			return err
		}
		sleep := pause/2 + rand.N(pause)
		if time.Now().Add(sleep).After(until) {
			return fmt.Errorf("%w: waited %v", ErrChanging, wait)
		}
		time.Sleep(sleep)
		r.tables = nil // nobody tells what becomes of iptables-legacy
		if l.lost {
			r.o.Conn.Deaf()
			before = r
			l, r = follow(New(r.o))
		}
	}
}

// A follower hears of transactions. Lost is set if it missed some, or cannot hear.
type follower struct {
	events *nftconn.Listener
	lost   bool
}

// follow begins to listen, and to read anew if there was a transaction before that.
func follow(r *Reader) (*follower, *Reader) {
	events, err := r.o.Conn.Listener()
	if now, failed := r.nft.Generation(); failed == nil && now != r.generation {
		r = New(r.o)
	}
	return &follower{events, err != nil}, r
}

// consistent judges a reading, if need be by the one before, which may be nil. A list that
// was interrupted by a change is not whole.
func (r *Reader) consistent(l *follower, before *Reader, interrupted bool) (ok bool, failed error) {
	if r.failed != nil {
		return false, r.failed
	}
	now, failed := r.nft.Generation()
	if now == r.generation || failed != nil {
		return !interrupted, failed
	}
	if !l.lost {
		events, err := l.events.Until(now)
		if err == nil {
			r.generation = now
			return !r.forget(events) && !interrupted, nil
		}
		l.lost = true
	}
	return !interrupted && before != nil && r.nft.Same(before.nft), nil
}

// forget drops what events have made untrue, and reports whether that was anything.
func (r *Reader) forget(events []nft.Event) (some bool) {
	for _, e := range events {
		if r.nft.Forget(e) {
			some = true
		}
	}
	return some
}
