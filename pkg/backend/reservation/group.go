// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Group is the path of a cgroup of v2 by the lower half of its ID, "" if it is gone. The ID is
// the number of its directory (kernfs).
func Group(id uint32) (path string) {
	r, err := openRoot()
	if err != nil {
		return ""
	}
	defer r.close()
	_ = fs.WalkDir(os.DirFS(fmt.Sprintf("/proc/self/fd/%d", r.fd)), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // it may go while we look
		}
		if st, err := d.Info(); err == nil && uint32(st.Sys().(*syscall.Stat_t).Ino) == id {
			path = p
			return fs.SkipAll
		}
		return nil
	})
	return path
}
