// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"os"
	"strconv"

	"github.com/containernetworking/plugins/pkg/ns"
	"golang.org/x/sys/unix"
)

// Netns identifies a network namespace beyond its path, which may be reused. The kernel
// gives the inode to the next namespace as soon as the first is gone.
type Netns struct {
	Path  string `json:"path"`
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
	// Cookie is the namespace's for as long as the machine runs (SO_NETNS_COOKIE, Linux
	// 5.14), 0 if it is not known.
	Cookie uint64 `json:"cookie,omitempty"`
	// View is what its ADD saw of the machine; records of earlier versions have none.
	View View `json:"view,omitzero"`
}

// A View is what a process sees of the machine: the inodes of the namespaces of its mounts
// and of the processes in /proc, 0 if that is not known.
type View struct {
	Mount uint64 `json:"mount"`
	PID   uint64 `json:"pid"`
}

// StatNetns looks at path, which must be a namespace.
func StatNetns(path string) (Netns, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Netns{}, fmt.Errorf("%q cannot be read: %w", path, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return Netns{}, fmt.Errorf("%q cannot be read: %w", path, err)
	}
	if fs.Type != unix.NSFS_MAGIC { // since Linux 3.19
		return Netns{}, fmt.Errorf("%q is not a network namespace", path)
	}
	return Netns{Path: path, Dev: st.Dev, Inode: st.Ino}, nil
}

// Identify is StatNetns, with all that tells the namespace from another one with its inode.
// The cookie is best effort: one must be inside to ask.
func (s *Sight) Identify(path string) (Netns, error) {
	n, err := StatNetns(path)
	if err == nil {
		n.View, n.Cookie = s.View(), cookie(path, n.Inode)
	}
	return n, err
}

// Open opens a network namespace of this boot wherever it is found, nil if it is not seen from
// here. Who is inside must ask Same whether it is another one.
func (s *Sight) Open(n Netns) ns.NetNS {
	if n.Inode == 0 {
		return nil
	}
	path := n.Path
	if n.there() != nil {
		path, _, _ = s.find(n)
	}
	if path == "" {
		return nil
	}
	return open(path, n.Inode)
}

// open opens the network namespace with an inode, nil if it is not at that path any more. Where
// /proc shows another PID namespace it is nil, too: pkg/ns has the thread go back to
// /proc/PID/task/TID, with numbers of this one. There that is a thread of somebody else, mostly in
// the machine's network namespace, and what follows would be done in it.
func open(path string, inode uint64) ns.NetNS {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil
	}
	out, err := ns.GetNS(path)
	if err != nil {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstat(int(out.Fd()), &st) != nil || st.Ino != inode {
		_ = out.Close()
		return nil
	}
	return out
}

// cookie is that of the network namespace at a path, 0 if it cannot be told or if another
// inode is there by now.
func cookie(path string, inode uint64) (cookie uint64) {
	n := open(path, inode)
	if n == nil {
		return 0
	}
	defer func() { _ = n.Close() }()
	_ = n.Do(func(ns.NetNS) error {
		cookie = here()
		return nil
	})
	return cookie
}

// here is the cookie of the calling thread's network namespace, 0 if it cannot be told.
func here() (cookie uint64) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = unix.Close(fd) }()
	cookie, _ = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return cookie
}

// Same reports whether the calling thread is in n, and not in another one with its inode.
func (n Netns) Same() bool {
	now := here()
	return n.Cookie == 0 || now == 0 || n.Cookie == now
}
