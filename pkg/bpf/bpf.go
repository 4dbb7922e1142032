// SPDX-License-Identifier: Apache-2.0

// Package bpf is bpf(2): maps, programs, and links of programs to cgroups. Numbers and
// structs are those of include/uapi/linux/bpf.h.
package bpf

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is the system call. What attr points to is pinned by the caller.
func call[T any](cmd int, attr *T) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// A memory keeps what attributes point to where it is, until it is released.
type memory struct{ runtime.Pinner }

// at is the address of b as attributes have it.
func (m *memory) at(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	m.Pin(unsafe.SliceData(b))
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// maxName is BPF_OBJ_NAME_LEN less the NUL.
const maxName = 15

func named(name string) (out [maxName + 1]byte) {
	copy(out[:maxName], name)
	return out
}

// Pin gives an object a name in a bpffs, by which it lives. It is EEXIST if there is one.
func Pin(fd int, path string) error {
	var m memory
	defer m.Unpin()
	attr := struct {
		path  uint64
		fd    uint32
		flags uint32
	}{path: m.at(append([]byte(path), 0)), fd: uint32(fd)}
	_, err := call(unix.BPF_OBJ_PIN, &attr)
	return failed(err, "pin %s", path)
}

// Open opens a pinned object. It is ENOENT if there is none.
func Open(path string) (fd int, err error) {
	var m memory
	defer m.Unpin()
	attr := struct {
		path  uint64
		fd    uint32
		flags uint32
	}{path: m.at(append([]byte(path), 0))}
	fd, err = call(unix.BPF_OBJ_GET, &attr)
	return fd, failed(err, "open %s", path)
}

// info reads what the kernel tells of an object into a struct of its kind.
func info[T any](fd int, into *T) error {
	var m memory
	defer m.Unpin()
	m.Pin(into)
	attr := struct {
		fd, length uint32
		info       uint64
	}{fd: uint32(fd), length: uint32(unsafe.Sizeof(*into)), info: uint64(uintptr(unsafe.Pointer(into)))}
	_, err := call(unix.BPF_OBJ_GET_INFO_BY_FD, &attr)
	return failed(err, "object info")
}

func failed(err error, doing string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bpf: %s: %w", fmt.Sprintf(doing, args...), err)
}
