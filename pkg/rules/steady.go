// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

// ErrChanging means that no reading was consistent.
var ErrChanging = errors.New("the nftables rules keep changing while they are read")

// Pauses between readings: a pod's setup takes a few transactions within milliseconds, and
// kube-proxy's last tens of them.
const (
	shortestPause = 2 * time.Millisecond
	longestPause  = 40 * time.Millisecond
)

// Steady calls f with r, and then with fresh Readers like it, until what it read is
// consistent: no transaction came in between, or it was told the same as the time before.
// A rule that moves from one chain to another while they are read may be seen in neither,
// so once is not enough; twice is, unless it moves to and fro in step with the readings,
// which have a random pause in between. It goes on for as long as wait allows, and at
// least once. What f returned for a reading that is not consistent is forgotten, an error
// too.
func Steady(wait time.Duration, r *Reader, f func(*Reader) error) error {
	var before *Reader
	until := time.Now().Add(wait)
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		err := f(r)
		ok, failed := r.consistent(before, err)
		if failed != nil {
			return failed
		}
		if ok {
			return err
		}
		before = r
		sleep := pause/2 + rand.N(pause)
		if time.Now().Add(sleep).After(until) {
			return fmt.Errorf("%w: waited %v", ErrChanging, wait)
		}
		time.Sleep(sleep)
		r = New(r.o)
	}
}

// consistent judges a reading by the one before, which may be nil. A list that was
// interrupted by a change is not whole.
func (r *Reader) consistent(before *Reader, err error) (ok bool, failed error) {
	if r.failed != nil {
		return false, r.failed
	}
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	now, failed := r.nft.Generation()
	return now == r.generation || before != nil && r.nft.Same(before.nft), failed
}
