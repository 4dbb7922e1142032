// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// A root is the root of the hierarchy of cgroup v2, as this process sees it: of the machine,
// or of its cgroup namespace.
type root struct {
	fd int
	id uint64
}

func (r root) close() { _ = unix.Close(r.fd) }

// errNoRoot means that something is no root of cgroup v2.
var errNoRoot = errors.New("no root of cgroup v2")

// Where systemd and OpenRC mount cgroup v2: alone, and beside v1.
func usual() []string { return []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} }

// The root of the machine has the first number of its file system (kernfs), and the first
// namespaces have numbers of their own (PROC_CGROUP_INIT_INO, PROC_PID_INIT_INO).
const (
	machineRoot   = 1
	machineCgroup = "cgroup:[4026531835]"
	machinePID    = "pid:[4026531836]"
)

// openRoot opens it where it is mounted. A mount of our own is the last resort: in the
// machine's cgroup namespace each mount sets the options of the whole hierarchy, so one without
// nsdelegate and memory_recursiveprot takes them away from all (cgroup_get_tree). It also takes
// milliseconds.
func openRoot() (root, error) {
	own, _ := os.Readlink("/proc/self/ns/cgroup")
	if own == machineCgroup {
		for _, at := range usual() {
			if r, err := openAt(at); err == nil && r.id == machineRoot {
				return r, nil
			} else if err == nil {
				r.close()
			}
		}
	}
	r, err := findRoot("self")
	if errors.Is(err, errNoRoot) {
		r, err = findRoot("1")
	}
	switch {
	case err == nil:
		return r, nil
	case own != "" && own != machineCgroup, errors.Is(err, errNoRoot) && machinesProcesses():
		return mountRoot() // nor where nobody knows whose namespace it is
	default:
		return r, fmt.Errorf("cgroup v2 is not mounted where the container runtime runs (%w); mount it there: mount -t cgroup2 none %s", err, usual()[1])
	}
}

// machinesProcesses reports whether process 1 is the machine's.
func machinesProcesses() bool {
	own, _ := os.Readlink("/proc/self/ns/pid")
	return own == machinePID
}

// findRoot opens the root where a process has it mounted. It is errNoRoot if that has it nowhere.
func findRoot(pid string) (r root, err error) {
	f, err := os.Open(filepath.Join("/proc", pid, "mountinfo"))
	if err != nil {
		return r, err
	}
	defer f.Close()
	mounts, err := mountinfo.GetMountsFromReader(f, mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		return r, err
	}
	err = errNoRoot
	for _, m := range mounts {
		if m.Root != "/" {
			continue // of another cgroup namespace, or a part
		}
		r, e := openAt(filepath.Join("/proc", pid, "root", m.Mountpoint))
		if e == nil {
			if id, e := mountID(r.fd); e == nil && id == uint64(m.ID) {
				return r, nil
			}
			r.close() // another mount covers it
		} else if !errors.Is(e, errNoRoot) {
			err = e
		}
	}
	return r, err
}

// mountID is the number of the mount that a file was opened by, as in mountinfo.
func mountID(fd int) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	return st.Mnt_id, err
}

// openAt opens a directory of cgroup v2.
func openAt(path string) (r root, err error) {
	if r.fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return r, err
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err = errors.Join(unix.Fstatfs(r.fd, &fs), unix.Fstat(r.fd, &st)); err == nil && uint32(fs.Type) != unix.CGROUP2_SUPER_MAGIC {
		err = errNoRoot
	}
	if err != nil {
		r.close()
		return root{}, fmt.Errorf("%s: %w", path, err)
	}
	r.id = st.Ino
	return r, nil
}

// mountRoot makes a mount that no path leads to, and opens its root.
func mountRoot() (r root, err error) {
	fd, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return r, fmt.Errorf("the kernel has no cgroup v2: fsopen: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.FsconfigCreate(fd); err != nil {
		return r, fmt.Errorf("cgroup v2: fsconfig: %w", err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return r, fmt.Errorf("cgroup v2: fsmount: %w", err)
	}
	defer unix.Close(mount)
	// What fsmount returns is O_PATH.
	return openAt(fmt.Sprintf("/proc/self/fd/%d", mount))
}
