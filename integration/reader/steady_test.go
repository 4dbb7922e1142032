// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/rules"
)

// every calls change every few milliseconds in n, until the test ends.
func every(t *testing.T, pause time.Duration, n *lab.Netns, change func(i int) error) {
	t.Helper()
	end, done := make(chan struct{}), make(chan struct{})
	changes := 0
	go n.Do(func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			case <-time.After(pause):
			}
			if err := change(changes); err != nil {
				t.Error(err)
				return
			}
			changes++
		}
	})
	t.Cleanup(func() {
		close(end)
		if <-done; changes == 0 {
			t.Error("nothing changed")
		}
	})
}

// table is one with a chain a that a rule moves from, to chain b and back.
func table(t *testing.T, n *lab.Netns, name string) (at nft.Table, move func(i int) error) {
	t.Helper()
	n.Run("nft", "add table ip "+name+"; add chain ip "+name+" a; add chain ip "+name+" b; add rule ip "+name+" a accept")
	at = nft.Table{Family: nft.IPv4, Name: name}
	return at, func(i int) error {
		from, to := "a", "b"
		if i%2 == 1 {
			from, to = to, from
		}
		b := &nft.Batch{}
		b.FlushChain(at, from)
		b.AddRule(at, to, nft.Rule{Exprs: []nft.Expr{nft.Verdict{Code: nft.Accept}.Expr()}})
		return nftconn.Open().Apply(b)
	}
}

// A burst of changes elsewhere hinders nobody (K1).
func TestSteadyBesideChanges(t *testing.T) {
	n := lab.NewNetns(t, "steady")
	mine, _ := table(t, n, "mine")
	_, move := table(t, n, "other")
	every(t, 5*time.Millisecond, n, move)
	var longest time.Duration
	n.Do(func() {
		for range 200 {
			start := time.Now()
			err := rules.Steady(5*time.Second, rules.New(rules.Options{Proc: "/proc"}), func(r *rules.Reader) error {
				if _, err := r.Holders(); err != nil {
					return err
				}
				_, err := r.NFT().Rules(mine, "a")
				time.Sleep(6 * time.Millisecond) // so that something changes meanwhile
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			longest = max(longest, time.Since(start))
		}
	})
	t.Logf("the longest took %v", longest)
}

// A rule that moves while it is looked for may be seen nowhere. Such a reading does not
// count, nor one in which it came back to where it was.
func TestSteadySeesWhatMoves(t *testing.T) {
	n := lab.NewNetns(t, "steady")
	at, move := table(t, n, "mine")
	moves := 0
	again := func() {
		if err := move(moves); err != nil {
			t.Error(err)
		}
		moves++
	}
	n.Do(func() {
		again() // to chain b
		var seen []int
		err := rules.Steady(5*time.Second, rules.New(rules.Options{Proc: "/proc"}), func(r *rules.Reader) error {
			a, err := r.NFT().Rules(at, "a")
			switch len(seen) {
			case 0: // to a, which was read
				again()
			case 1, 2: // there and back
				again()
				again()
			}
			b, err2 := r.NFT().Rules(at, "b")
			seen = append(seen, len(a)+len(b))
			return errors.Join(err, err2)
		})
		// The third is as the second, but for its handle; the fourth is the third.
		if want := []int{0, 1, 1, 1}; !slices.Equal(seen, want) || err != nil {
			t.Errorf("the rule was seen %v times, want %v: %v", seen, want, err)
		}
	})
}

// An error counts only if the reading does; then it is told.
func TestSteadyErrors(t *testing.T) {
	n := lab.NewNetns(t, "steady")
	at, move := table(t, n, "mine")
	mine := errors.New("not so")
	n.Do(func() {
		calls := 0
		f := func(r *rules.Reader) error {
			calls++
			_, err := r.NFT().Rules(at, "a")
			if err == nil && calls < 3 {
				if err := move(calls); err != nil {
					t.Error(err)
				}
				return errors.New("too early")
			}
			return errors.Join(err, mine)
		}
		if err := rules.Steady(time.Second, rules.New(rules.Options{Proc: "/proc"}), f); !errors.Is(err, mine) || calls != 3 {
			t.Errorf("%v after %d calls", err, calls)
		}
		calls = 0
		if err := rules.Steady(0, rules.New(rules.Options{Proc: "/proc"}), f); !errors.Is(err, rules.ErrChanging) || calls != 1 {
			t.Errorf("without time: %v after %d calls", err, calls)
		}
	})
}
