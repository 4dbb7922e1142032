// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// Groups are the paths of cgroups of v2 by the lower halves of their IDs, without those that
// are gone. The ID is the number of the directory (kernfs). All cgroups are looked at once.
func Groups(ids []uint32) map[uint32]string {
	paths := map[uint32]string{}
	if len(ids) == 0 {
		return paths
	}
	r, err := openRoot()
	if err != nil {
		return paths
	}
	defer r.close()
	_ = fs.WalkDir(os.DirFS(fmt.Sprintf("/proc/self/fd/%d", r.fd)), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // it may go while we look
		}
		if st, err := d.Info(); err == nil {
			if id := uint32(st.Sys().(*syscall.Stat_t).Ino); slices.Contains(ids, id) {
				paths[id] = p
			}
		}
		if len(paths) == len(ids) {
			return fs.SkipAll
		}
		return nil
	})
	return paths
}
