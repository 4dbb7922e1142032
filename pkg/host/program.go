// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/bpf"
	"github.com/portguard/portguard/pkg/hostport"
)

// SocketPrograms are the BPF programs that choose sockets in the calling thread's network
// namespace. A kernel that does not know the type (before Linux 5.9), or no BPF, has none.
func SocketPrograms() (p hostport.Programs, err error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return p, fmt.Errorf("could not ask for the BPF programs of the network namespace: %w", err)
	}
	defer ns.Close()
	ids, _, err := bpf.Query(int(ns.Fd()), unix.BPF_SK_LOOKUP)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return p, nil
	case errors.Is(err, unix.EPERM):
		p.Unknown, p.Nested = "the kernel lets only root of the machine ask for BPF programs", nested(ns)
		return p, nil
	case err != nil:
		return p, fmt.Errorf("could not ask for the BPF programs of the network namespace: %w", err)
	}
	for _, id := range ids {
		is, _ := bpf.ProgramInfo(id) // for people: no name if that fails
		p.Attached = append(p.Attached, hostport.Program{ID: id, Name: is.Name})
	}
	return p, nil
}

// nested reports whether a network namespace belongs to a user namespace that the machine has
// not begun with. The kernel does not say of one that is further out than the caller's.
func nested(ns *os.File) bool {
	const first = 0xEFFFFFFD // PROC_USER_INIT_INO
	fd, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Ino != first
}
