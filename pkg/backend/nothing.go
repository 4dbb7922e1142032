// SPDX-License-Identifier: Apache-2.0

package backend

import "github.com/portguard/portguard/pkg/hostport"

// Nothing is the State of a place that could not be read: nothing is known of it, and it
// cannot be changed.
type Nothing struct{}

var _ State = Nothing{}

// Closed is a backend that could not be read. Applying a State does nothing.
type Closed struct{ Backend }

// Apply does nothing.
func (Closed) Apply(_, _ State) error { return nil }

// Claims returns none.
func (Nothing) Claims() []hostport.Claim { return nil }

// With returns the same.
func (n Nothing) With(hostport.Attachment, ...hostport.Key) State { return n }

// WithAll returns the same.
func (n Nothing) WithAll([]hostport.Attachment, ...hostport.Key) State { return n }

// Without returns the same.
func (n Nothing) Without(...hostport.Key) State { return n }

// Missing returns none.
func (Nothing) Missing(hostport.Attachment) []string { return nil }

// Whole is always so.
func (Nothing) Whole(hostport.Attachment) bool { return true }

// Recover finds nothing.
func (Nothing) Recover(hostport.Key) (a hostport.Attachment, ok bool) { return a, false }
