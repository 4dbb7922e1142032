// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Sight is what this process sees of network namespaces. It looks at processes and
// mounts once, when a path alone does not answer.
type Sight struct {
	proc string
	// nets are the namespaces of processes, with a path to each; hidden says which process
	// could not be looked at.
	nets   map[uint64]string
	hidden error
	// mounts are the mount namespaces of processes, with a PID in each; unmounted says which
	// process could not be looked at. tables are the mounts of processes, by PID.
	mounts    map[uint64]string
	unmounted error
	tables    map[string]table
}

// A table is a mount namespace, as one of its processes shows it.
type table struct {
	// nets are the network namespaces mounted there and paths all that is, with a path from
	// here to each.
	nets  map[uint64]string
	paths map[string]string
	// pinned are mount namespaces that are mounted themselves.
	pinned map[uint64]bool
	err    error
}

// initPID is the inode of the PID namespace of the machine itself (PROC_PID_INIT_INO).
const initPID = 0xEFFFFFFC

// See returns what can be seen in the procfs mounted at proc.
func See(proc string) *Sight { return &Sight{proc: proc, tables: map[string]table{}} }

// View is what this process sees.
func (s *Sight) View() (v View) {
	v.Mount, _ = s.link("self/ns/mnt")
	// In the procfs of another PID namespace a process has a number in each between.
	status, _ := os.ReadFile(filepath.Join(s.proc, "self/status"))
	_, rest, _ := strings.Cut(string(status), "\nNSpid:")
	numbers, _, _ := strings.Cut(rest, "\n")
	if len(strings.Fields(numbers)) == 1 {
		v.PID, _ = s.link("self/ns/pid")
	} else {
		v.PID, _ = s.link("1/ns/pid")
	}
	return v
}

// Life says whether a network namespace of this boot is there, and if nobody can tell
// from here why not. An n without an inode is known by its path only, one without a path
// by its inode only.
//
// It lives if its path holds it, if something is mounted from it where its ADD was, or if
// a process is in it. It is dead if nothing of that is so and we see what its ADD saw, or
// if another one has its inode by now.
func (s *Sight) Life(n Netns) (life hostport.Life, why string) {
	err := n.there()
	if err == nil {
		return hostport.Alive, ""
	}
	if n.Inode == 0 && n.Path == "" {
		return hostport.Unknown, "its rules do not name its network namespace"
	}
	path, reused, merr := s.find(n)
	view := s.View()
	switch {
	case reused:
		return hostport.Dead, ""
	case path != "":
		return hostport.Alive, ""
	case s.hidden != nil:
		return hostport.Unknown, fmt.Sprintf("not all processes can be looked at (%v)", s.hidden)
	case n.View.PID == 0 && view.PID != initPID, n.View.PID != 0 && view.PID != n.View.PID:
		return hostport.Unknown, "the processes of the node are not seen from here"
	case merr != nil:
		return hostport.Unknown, fmt.Sprintf("the mounts that its ADD saw are not seen from here (%v)", merr)
	case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTDIR):
		return hostport.Unknown, err.Error()
	}
	return hostport.Dead, ""
}

// LifeBefore is Life for a record of another boot. In a container the ID of the boot may be
// covered (systemd-nspawn and LXC do it), so that the pods of its ADDs seem to be of another
// boot from outside, and those from outside seem so inside. An inode alone says nothing, for
// each boot gives the same ones.
func (s *Sight) LifeBefore(n Netns) (hostport.Life, string) {
	view := s.View()
	switch {
	case n.there() == nil && n.Inode != 0:
		return hostport.Alive, ""
	case n.View.PID != 0 && view.PID != n.View.PID:
		return hostport.Unknown, "its ADD saw another boot, and the processes of the node are not seen from here"
	}
	return hostport.Dead, ""
}

// find tells where a namespace with the inode of n is, "" if none is seen, and whether it is
// another one. The process that leads there may end before it can be asked; then others are
// looked for.
func (s *Sight) find(n Netns) (path string, reused bool, err error) {
	for range 3 {
		s.look()
		if path = s.nets[n.Inode]; path == "" {
			path, err = s.mounted(n)
		}
		if path == "" || n.Cookie == 0 {
			return path, false, err
		}
		now := cookie(path, n.Inode)
		if at := (Netns{Path: path, Dev: n.Dev, Inode: n.Inode}); now != 0 || at.there() == nil {
			return path, now != 0 && now != n.Cookie, err
		}
		s.nets = nil
	}
	return path, false, err
}

// there is nil if the namespace is at its path, and os.ErrNotExist if another one is.
func (n Netns) there() error {
	var st unix.Stat_t
	if n.Path == "" {
		return os.ErrNotExist
	}
	if err := unix.Stat(n.Path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: n.Path, Err: err}
	}
	if n.Inode != 0 && (st.Dev != n.Dev || st.Ino != n.Inode) {
		return os.ErrNotExist
	}
	return nil
}

// look finds the network namespaces of all processes. What is forked by one that ends
// meanwhile is in the next list.
func (s *Sight) look() {
	if s.nets != nil {
		return
	}
	s.nets = map[uint64]string{}
	looked := map[string]bool{}
	for again := true; again; {
		pids, err := s.processes()
		if err == nil && !slices.Contains(pids, "1") { // hidepid hides init too
			err = errors.New("not even init is seen")
		}
		if err != nil {
			s.hidden = err
		}
		again = false
		for _, pid := range pids {
			if looked[pid] {
				continue
			}
			looked[pid] = true
			inode, err := s.link(pid + "/ns/net")
			switch {
			case err == nil:
				s.nets[inode] = filepath.Join(s.proc, pid, "ns/net")
			case gone(err):
				again = true
			case pid != "1": // init is in no pod
				s.hidden = err
			}
		}
	}
}

func (s *Sight) processes() (pids []string, err error) {
	entries, err := os.ReadDir(s.proc)
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, e.Name())
		}
	}
	return pids, err
}

// gone reports whether a process has ended.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// link reads a link of procfs to a namespace.
func (s *Sight) link(name string) (inode uint64, err error) {
	to, err := os.Readlink(filepath.Join(s.proc, name))
	if err != nil {
		return 0, err
	}
	return inodeOf(to)
}

// inodeOf is that of a namespace by its name, such as net:[4026531840].
func inodeOf(name string) (uint64, error) {
	_, inode, _ := strings.Cut(strings.TrimSuffix(name, "]"), ":[")
	return strconv.ParseUint(inode, 10, 64)
}

// mounted is where a namespace is mounted, as a path from here: in our mount namespace,
// that of init or that of its ADD. The last is gone with its last process, unless it is
// mounted itself.
func (s *Sight) mounted(n Netns) (path string, err error) {
	adds, hidden := s.inMount(n.View.Mount)
	pinned := false
	for _, pid := range []string{"self", "1", adds} {
		t := s.table(pid)
		if path = t.nets[n.Inode]; n.Inode == 0 {
			path = t.paths[n.Path]
		}
		if path != "" {
			return path, nil
		}
		pinned, err = pinned || t.pinned[n.View.Mount], errors.Join(err, t.err)
	}
	if adds == "" && hidden == nil && pinned {
		hidden = errors.New("no process is in their namespace")
	}
	return "", errors.Join(err, hidden)
}

// inMount is a process in a mount namespace, "" if there is none or the namespace is not
// known.
func (s *Sight) inMount(mount uint64) (pid string, hidden error) {
	if mount == 0 {
		return "", nil
	}
	if own, err := s.link("self/ns/mnt"); err == nil && own == mount {
		return "self", nil
	}
	if s.mounts == nil {
		s.mounts = map[uint64]string{}
		pids, err := s.processes()
		s.unmounted = err
		for _, pid := range pids {
			inode, err := s.link(pid + "/ns/mnt")
			switch {
			case err == nil && s.mounts[inode] == "":
				s.mounts[inode] = pid
			case err != nil && !gone(err) && pid != "1": // whose mounts are read all the same
				s.unmounted = err
			}
		}
	}
	if pid = s.mounts[mount]; pid == "" {
		hidden = s.unmounted
	}
	return pid, hidden
}

// table reads the mounts of a process, once. One that is gone has none.
func (s *Sight) table(pid string) table {
	if t, known := s.tables[pid]; known || pid == "" {
		return t
	}
	t := table{nets: map[uint64]string{}, paths: map[string]string{}, pinned: map[uint64]bool{}}
	mounts, err := s.mountinfo(pid)
	if err != nil && !gone(err) {
		t.err = err
	}
	for _, m := range mounts { // "512 24 0:4 net:[4026532281] /run/netns/x rw ..."
		path := filepath.Join(s.proc, pid, "root", m.Mountpoint)
		t.paths[m.Mountpoint] = path
		switch inode, err := inodeOf(m.Root); {
		case err != nil:
		case strings.HasPrefix(m.Root, "net:"):
			t.nets[inode] = path
		case strings.HasPrefix(m.Root, "mnt:"):
			t.pinned[inode] = true
		}
	}
	s.tables[pid] = t
	return t
}

func (s *Sight) mountinfo(pid string) ([]*mountinfo.Info, error) {
	f, err := os.Open(filepath.Join(s.proc, pid, "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.GetMountsFromReader(f, nil)
}
