// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/need"
)

// A mount of our own would set the options of the machine's hierarchy.
func TestRootIsOpenedWhereItIsMounted(t *testing.T) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(mounts, func(m *mountinfo.Info) bool { return m.Root == "/" }) {
		need.Skip(t, "the root of cgroup v2 is mounted nowhere")
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

// Without /proc nobody knows whose cgroup namespace this is: it may be the machine's.
func TestNoMountOfARootThatMayBeTheMachines(t *testing.T) {
	if !need.Apart(t, unix.CLONE_NEWNS) {
		return
	}
	need.NoProc(t)
	r, err := openRoot()
	if err == nil {
		r.close()
	}
	if err == nil || !strings.Contains(err.Error(), "mount it there") {
		t.Errorf("root %+v, %v", r, err)
	}
}
