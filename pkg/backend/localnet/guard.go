// SPDX-License-Identifier: Apache-2.0

package localnet

import (
	"maps"
	"slices"
)

// Sysctls are those of links. The error of a link that is gone is fs.ErrNotExist.
type Sysctls interface {
	RouteLocalnet(link string) (bool, error)
	SetRouteLocalnet(link string, on bool) error
	// MaySet reports why it could not be set.
	MaySet(link string) error
}

// A Guard keeps others from 127.0.0.0/8 over links on which portguard switched
// route_localnet on.
type Guard interface {
	// Name is stable. Each Guard has its own.
	Name() string
	// Load reads the links that are guarded. There are none where there cannot be
	// any.
	Load() (map[string]Link, error)
	// Apply brings the guard from have, which Load has returned, to want, in one
	// transaction, and mends what is broken. When it fails everything is as it was, or
	// the error is backend.ErrNotUndone.
	Apply(have, want map[string]Link) error
}

// A Link is what a guard knows of a link.
type Link struct {
	// Broken says, in words, what of the guard is not as it must be. Apply ignores it
	// in what is wanted.
	Broken []string
}

func equal(a, b map[string]Link) bool {
	return maps.EqualFunc(a, b, func(x, y Link) bool { return slices.Equal(x.Broken, y.Broken) })
}
