// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/state"
)

// A raced error is of a change that failed, it seems, because the rules were changed since
// they were read: what was to go is gone, or what was to be made is there.
type raced struct{ error }

func (r raced) Unwrap() error { return r.error }

// raceOr is err, as a raced error if it looks like one.
func raceOr(err error) error {
	lacks := errors.Is(err, backend.ErrUnavailable) || errors.Is(err, nftconn.ErrNoKernel)
	if !lacks && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, iptables.ErrGone)) {
		return raced{err}
	}
	return err
}

// retry does again what was raced, a few times: an error of that kind may have another cause,
// such as a match that the kernel lacks.
func retry(f func() error) (err error) {
	const tries = 10
	pause := time.Millisecond
	for range tries {
		if err = f(); !errors.As(err, new(raced)) {
			return err
		}
		time.Sleep(pause/2 + rand.N(pause))
		pause = min(2*pause, 40*time.Millisecond)
	}
	return err
}

// addPatiently adds. Other pods that have the ports are waited for, without the lock: under
// a kubelet they are nearly always on their way out. Then everything is done anew. Who
// cannot go while we wait is not waited for.
func (p *Plugin) addPatiently(req *netconf.Request, store *state.Store, netns state.Netns) error {
	until := time.Now()
	if !p.Node.CalledAlone() {
		until = until.Add(req.ClaimWait)
	}
	for {
		err := p.addLocked(req, store, netns, time.Now().Before(until))
		var held *heldError
		if !errors.As(err, &held) {
			return err
		}
		p.debug("waits for those who have the ports: %v", err)
		for !held.changed() && time.Now().Before(until) {
			time.Sleep(claimPoll)
		}
	}
}

// claimPoll is how often it is looked whether those who have the ports are gone.
const claimPoll = 100 * time.Millisecond

// A heldError is a refusal that may be over soon; changed tells when one of those who have
// the ports is gone.
type heldError struct {
	error
	changed func() bool
}
