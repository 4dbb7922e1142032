// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"flag"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

func TestMessages(t *testing.T) {
	m := golden.New(t)
	m.Section("kernels without what the backend needs; the plugin adds what to do")
	for _, err := range []error{enough("5.4.0-generic", nil), enough("6.1.0", unix.EINVAL), enough("6.1.0", unix.EPERM)} {
		m.Add("109", err.Error())
	}
	if err := enough("6.1.0", nil); err != nil {
		t.Error(err)
	}
	m.Check(*update)
}
