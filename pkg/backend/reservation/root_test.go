// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"slices"
	"testing"

	"github.com/moby/sys/mountinfo"
)

// A mount of our own would set the options of the machine's hierarchy.
func TestRootIsOpenedWhereItIsMounted(t *testing.T) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(mounts, func(m *mountinfo.Info) bool { return m.Root == "/" }) {
		t.Skip("the root of cgroup v2 is mounted nowhere")
	}
	for name, open := range map[string]func() (root, error){
		"openRoot": openRoot,
		"findRoot": func() (root, error) { return findRoot("self") },
	} {
		r, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer r.close()
		id, err := mountID(r.fd)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		at := slices.IndexFunc(mounts, func(m *mountinfo.Info) bool { return uint64(m.ID) == id })
		if at < 0 || mounts[at].Root != "/" {
			t.Errorf("%s: opened by mount %d, which is none of the roots of cgroup v2 in mountinfo", name, id)
		}
	}
}
