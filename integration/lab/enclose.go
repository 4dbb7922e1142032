// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// enclosed marks the environment of a process that Enclose has started.
const enclosed = "PORTGUARD_LAB"

// Enclosed reports whether this process and what it starts see a hierarchy of cgroups and a
// bpffs of their own. portguard attaches programs to the root of the cgroups that it sees,
// and those of a test must be for processes of that test alone.
func Enclosed() bool { return os.Getenv(enclosed) != "" }

// Enclose runs this program again, in a cgroup that is the root of what it sees, with a
// bpffs that goes with it, calls f there, and returns the exit code. Whatever a test leaves
// there, even when it is killed, is gone with the process.
func Enclose(f func() int) (code int) {
	if !Enclosed() {
		return again()
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return f()
}

// again runs this program in a cgroup of its own.
func again() (code int) {
	// The first process may go in a way that nobody can react to: the second one goes with the
	// thread that started it.
	runtime.LockOSThread()
	leave, err := enterCgroup()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab: a cgroup for the tests:", err)
		return 1
	}
	defer leave()
	// Of /proc/self/exe the new process could not tell the path: its mount would be one of ours.
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), enclosed+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	_ = cmd.Wait()
	if code = cmd.ProcessState.ExitCode(); code < 0 {
		code = 1
	}
	return code
}

// furnish mounts the bpffs of an enclosed process, and over each cgroup v2 what the process sees
// as its root: by the mounts of the machine a test would move itself out of it, where nothing
// refuses its binds. The mounts do not reach other mount namespaces.
func furnish() error {
	if err := unix.Mount("", "/sys", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("the mounts below /sys: %w", err)
	}
	if err := unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("a bpffs for the tests: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] != "cgroup2" {
			continue
		}
		if err := coverCgroup(f[1]); err != nil {
			return fmt.Errorf("cgroup v2 of the tests at %s: %w", f[1], err)
		}
	}
	return nil
}

// coverCgroup mounts the root at a path where cgroup v2 is mounted already: mount(2) would refuse it.
func coverCgroup(path string) error {
	root, err := cgroupRoot()
	if err != nil {
		return err
	}
	defer unix.Close(root)
	return unix.MoveMount(root, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// strayed reports whether this process has left the cgroup that Enclose made: binds are not
// refused there.
func strayed() error {
	path, err := ownCgroup()
	if err == nil && strings.HasPrefix(path, "..") {
		err = fmt.Errorf("this process has left the cgroup of the tests, for %s", path)
	}
	return err
}

// enterCgroup moves this process into a cgroup that is made for it.
func enterCgroup() (leave func(), err error) {
	root, err := machineRoot()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("portguard-lab-%d", os.Getpid())
	// One that is there is of a run that was killed and had the number that is ours now.
	if err := unix.Mkdirat(root, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	home, err := ownCgroup()
	if err == nil {
		err = move(root, name)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Unlinkat(root, name, unix.AT_REMOVEDIR))
	}
	return func() {
		_ = move(root, home)
		for range 50 { // what is being killed is there for a moment
			if err := unix.Unlinkat(root, name, unix.AT_REMOVEDIR); err == nil || errors.Is(err, unix.ENOENT) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		fmt.Fprintf(os.Stderr, "lab: cgroup %s stays: a process of the tests still runs in it\n", name)
	}, nil
}

// machineRoot is the root of cgroup v2 where it is mounted. In the machine's cgroup namespace a
// mount without nsdelegate and memory_recursiveprot takes these options away from everybody.
func machineRoot() (int, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		return -1, err
	}
	for _, m := range mounts {
		if m.Root == "/" {
			return unix.Open(m.Mountpoint, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
	}
	return cgroupRoot()
}

// cgroupRoot is the root of cgroup v2 by a mount of its own.
func cgroupRoot() (int, error) {
	fd, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if err := unix.FsconfigCreate(fd); err != nil {
		return -1, err
	}
	return unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
}

// ownCgroup is the path of this process's cgroup, seen from the root.
func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return strings.TrimPrefix(path, "/"), nil
		}
	}
	return "", errors.New("/proc/self/cgroup names no cgroup of version 2")
}

// move moves this process.
func move(root int, cgroup string) error {
	fd, err := unix.Openat(root, filepath.Join(cgroup, "cgroup.procs"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(strconv.Itoa(os.Getpid())))
	return err
}
