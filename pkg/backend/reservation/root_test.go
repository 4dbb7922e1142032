// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
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

// Without /proc nobody knows whose cgroup namespace this is: it may be the machine's.
func TestNoMountOfARootThatMayBeTheMachines(t *testing.T) {
	need.Root(t)
	const inside = "PORTGUARD_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount("/proc", unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	r, err := openRoot()
	if err == nil {
		r.close()
	}
	if err == nil || !strings.Contains(err.Error(), "mount it there") {
		t.Errorf("root %+v, %v", r, err)
	}
}
