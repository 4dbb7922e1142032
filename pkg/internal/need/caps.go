// SPDX-License-Identifier: Apache-2.0

package need

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Unprivileged calls f without CAP_NET_ADMIN. The test must be locked to its thread.
func Unprivileged(t testing.TB, f func()) {
	t.Helper()
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	if err := unix.Capget(&h, &had[0]); err != nil {
		t.Fatal(err)
	}
	without := had
	without[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	for _, data := range []*[2]unix.CapUserData{&without, &had} {
		if err := unix.Capset(&h, &data[0]); err != nil {
			t.Fatal(err)
		}
		if data == &without {
			f()
		}
	}
}
