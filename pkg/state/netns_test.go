// SPDX-License-Identifier: Apache-2.0

package state

import (
	"path/filepath"
	"strings"
	"testing"
)

const self = "/proc/self/ns/net"

func TestStatNetns(t *testing.T) {
	n, err := StatNetns(self)
	if err != nil || n.Path != self || n.Inode == 0 {
		t.Errorf("got %+v, %v", n, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for path, says := range map[string]string{file: "is not a network namespace", "/nonexistent": "cannot be read", "": "cannot be read"} {
		if _, err := StatNetns(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error is %v, want %q", path, err, says)
		}
	}
}
