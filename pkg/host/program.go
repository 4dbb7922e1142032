// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// A progQuery is the part of union bpf_attr (include/uapi/linux/bpf.h) that BPF_PROG_QUERY
// takes.
type progQuery struct {
	target     uint32 // a file descriptor of the network namespace
	attachType uint32
	queryFlags uint32
	attached   uint32
	ids        uint64
	count      uint32
	_          uint32
}

// mostPrograms is the most that a network namespace can have of one type
// (MAX_BPF_PROGS of kernel/bpf/net_namespace.c).
const mostPrograms = 64

// SocketPrograms are the BPF programs that choose sockets in the calling thread's network
// namespace. A kernel that does not know the type (before Linux 5.9), or no BPF, has none.
func SocketPrograms() (p hostport.Programs, err error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return p, fmt.Errorf("could not ask for the BPF programs of the network namespace: %w", err)
	}
	defer ns.Close()
	ids := new([mostPrograms]uint32)
	var pin runtime.Pinner // its address is a number in q
	pin.Pin(ids)
	defer pin.Unpin()
	q := progQuery{target: uint32(ns.Fd()), attachType: unix.BPF_SK_LOOKUP, ids: uint64(uintptr(unsafe.Pointer(ids))), count: mostPrograms}
	_, err = bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&q), unsafe.Sizeof(q))
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return p, nil
	case errors.Is(err, unix.EPERM):
		p.Unknown, p.Nested = "the kernel lets only root of the machine ask for BPF programs", nested(ns)
		return p, nil
	case err != nil:
		return p, fmt.Errorf("could not ask for the BPF programs of the network namespace: %w", err)
	}
	for _, id := range ids[:min(q.count, mostPrograms)] {
		p.Attached = append(p.Attached, hostport.Program{ID: id, Name: programName(id)})
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

// programName asks for a program's name, which is for people: "" if that fails.
func programName(id uint32) string {
	get := [4]uint32{id} // start_id, next_id, open_flags
	fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&get), 12)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	// struct bpf_prog_info, as long as its first version (Linux 4.15) that has a name.
	const nameAt, nameLen = 64, 16
	info := new([nameAt + nameLen]byte)
	var pin runtime.Pinner
	pin.Pin(info)
	defer pin.Unpin()
	attr := struct {
		fd, size uint32
		info     uint64
	}{uint32(fd), uint32(len(info)), uint64(uintptr(unsafe.Pointer(info)))}
	if _, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return ""
	}
	name, _, _ := bytes.Cut(info[nameAt:], []byte{0})
	return string(name)
}

// bpf is bpf(2).
func bpf(cmd uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}
