// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"io/fs"
	"testing"
)

// Links may have dots in their names, and a link that is gone is told from other errors.
func TestRouteLocalnetOfALinkThatIsGone(t *testing.T) {
	var s Sysctls
	if _, err := s.RouteLocalnet("no.such.link"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
	if err := s.SetRouteLocalnet("no.such.link", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written: %v", err)
	}
	if _, err := s.RouteLocalnet("lo"); err != nil {
		t.Error(err)
	}
}
