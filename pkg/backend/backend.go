// SPDX-License-Identifier: Apache-2.0

// Package backend is the seam between the verbs and the places of the kernel in which
// attachments have something. It is pure; each place has a package of its own below it.
package backend

import (
	"errors"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A Backend keeps what attachments have in one place of the kernel.
type Backend interface {
	// Name is stable: records and outputs have it.
	Name() string
	// Load reads all that is there of ours. What is not there is an empty State; what
	// cannot be read is an error. With an Unread comes a State of the rest, which leaves
	// alone what could not be read.
	Load() (State, error)
	// Apply brings the place from have, which Load has returned, to want, in one
	// transaction where the kernel has one. When it fails everything is as it was, or
	// the error is ErrNotUndone. Applying a State to itself does nothing.
	Apply(have, want State) error
	// Try reports why Apply would fail. It asks the kernel and the tools, and commits
	// nothing.
	Try(have, want State) error
	// Owns reports whether a chain is the backend's own, so that no packet which gets
	// there is taken by somebody else. An empty table asks for any.
	Owns(t nft.Table, chain string) bool
}

// A Holder is a Backend that keeps others from what an attachment asks for. Its part of an ADD
// is applied before it is looked who else is there, so that nobody comes in between.
type Holder interface {
	Backend
	Holds()
}

// A State is what is in one place, or should be. It is immutable.
type State interface {
	// Claims are the mappings that are in place, as far as the kernel alone tells.
	Claims() []hostport.Claim
	// With returns the State with everything a needs here, replacing what it has and what
	// the attachments with the keys in instead have.
	With(a hostport.Attachment, instead ...hostport.Key) State
	// WithAll is With for one after the other, in the time that it takes for one. What they
	// have goes first: of what several want, the first gets it.
	WithAll(as []hostport.Attachment, instead ...hostport.Key) State
	// Without returns the State without those attachments, and without shared parts that
	// only they used.
	Without(keys ...hostport.Key) State
	// Missing lists, one line each, what With(a) would add or change here.
	Missing(a hostport.Attachment) []string
	// Whole reports whether Missing lists nothing. Each change asks that of every
	// attachment, so it is to be cheap, and may overlook what somebody changed within a rule.
	Whole(a hostport.Attachment) bool
	// Recover rebuilds as much of an attachment as the kernel tells, without its
	// record. It is not ok if nothing of it is there.
	Recover(key hostport.Key) (a hostport.Attachment, ok bool)
}

// ErrNotUndone means that a failed change left something behind.
var ErrNotUndone = errors.New("the change could not be undone")

// Unread says of places, by the names of their backends, why they could not be read.
type Unread map[string]error

func (u Unread) Error() string {
	var all []string
	for _, err := range u {
		all = append(all, err.Error())
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "; ")
}

// Or is u as an error, nil if everything was read.
func (u Unread) Or() error {
	if len(u) == 0 {
		return nil
	}
	return u
}

// ErrUnavailable means that the kernel cannot do what the backend needs, which showed
// only when it was tried. Another backend may.
var ErrUnavailable = errors.New("the kernel lacks what the backend needs")
