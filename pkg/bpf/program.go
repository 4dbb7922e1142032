// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Load loads a program that is attached to binds of one family (BPF_CGROUP_INET4_BIND or
// BPF_CGROUP_INET6_BIND). The error holds the last line of what the verifier says.
func Load(name, license string, attach uint32, code []byte) (fd int, err error) {
	var m memory
	defer m.Unpin()
	attr := programAttr{
		typ: unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, count: uint32(len(code) / 8), insns: m.at(code),
		license: m.at(append([]byte(license), 0)), name: named(name), attach: attach,
	}
	fd, err = verify(&attr)
	if err != nil { // again, to be told why
		log := make([]byte, 1<<16)
		attr.level, attr.size, attr.log = 1, uint32(len(log)), m.at(log)
		if again, _ := verify(&attr); again > 0 {
			_ = unix.Close(again)
		}
		err = failed(err, "load %s%s", name, verdict(log))
	}
	return fd, err
}

// verify has the kernel verify and take a program. The verifier gives up with EAGAIN when a
// signal comes, and Go's runtime sends some to its own threads.
func verify(attr *programAttr) (fd int, err error) {
	const tries = 30
	for range tries {
		if fd, err = call(unix.BPF_PROG_LOAD, attr); !errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	return fd, err
}

type programAttr struct {
	typ, count  uint32
	insns       uint64
	license     uint64
	level, size uint32
	log         uint64
	_, _        uint32 // kernel version, flags
	name        [maxName + 1]byte
	_           uint32 // ifindex
	attach      uint32
}

// verdict is the verifier's reason: the last line that is no statistics.
func verdict(log []byte) string {
	log, _, _ = bytes.Cut(log, []byte{0})
	said := ""
	for line := range bytes.Lines(log) {
		if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("processed ")) {
			said = ": " + string(line)
		}
	}
	return said
}

// Attach attaches a program to a cgroup, beside others' (BPF_F_ALLOW_MULTI is what links
// imply). It stays as long as the link is open or pinned.
func Attach(program, cgroup int, attach uint32) (link int, err error) {
	attr := struct{ program, target, attach, flags uint32 }{uint32(program), uint32(cgroup), attach, 0}
	link, err = call(unix.BPF_LINK_CREATE, &attr)
	return link, failed(err, "attach to the cgroup")
}

// Replace puts another program in the place of a link's.
func Replace(link, program int) error {
	attr := struct{ link, program, flags, old uint32 }{link: uint32(link), program: uint32(program)}
	_, err := call(unix.BPF_LINK_UPDATE, &attr)
	return failed(err, "replace the program")
}

// A Link is what an open one tells: the cgroup, which is 0 when that is gone, and its program.
type Link struct {
	Cgroup  uint64
	Program Program
}

// LinkInfo asks a link to a cgroup.
func LinkInfo(link int) (l Link, err error) {
	// struct bpf_link_info, of which cgroup has an identifier behind the common part.
	var is struct {
		typ, id, program, _ uint32
		cgroup              uint64
		attach, _           uint32
		rest                [8]uint64
	}
	if err = info(link, &is); err != nil {
		return l, err
	}
	l.Cgroup = is.cgroup
	l.Program, err = ProgramInfo(is.program)
	return l, err
}

// A Program is what one tells that is loaded: its name, and the IDs of its maps.
type Program struct {
	Name string
	Maps []uint32
}

// ProgramInfo asks a program by its ID.
func ProgramInfo(id uint32) (p Program, err error) {
	attr := struct{ id, next, flags uint32 }{id: id}
	fd, err := call(unix.BPF_PROG_GET_FD_BY_ID, &attr)
	if err != nil {
		return p, failed(err, "open program %d", id)
	}
	defer unix.Close(fd)
	// struct bpf_prog_info, as long as its first version (Linux 4.15) that has a name.
	var is struct {
		typ, id           uint32
		tag               [8]byte
		jited, xlated     uint32
		jitedAt, xlatedAt uint64
		loaded            uint64
		uid, mapCount     uint32
		mapsAt            uint64
		name              [maxName + 1]byte
	}
	maps := make([]uint32, mostMaps)
	var m memory
	defer m.Unpin()
	m.Pin(&maps[0])
	is.mapCount, is.mapsAt = uint32(len(maps)), uint64(uintptr(unsafe.Pointer(&maps[0])))
	if err := info(fd, &is); err != nil {
		return p, err
	}
	name, _, _ := bytes.Cut(is.name[:], []byte{0})
	return Program{Name: string(name), Maps: maps[:min(int(is.mapCount), len(maps))]}, nil
}

// mostMaps is how many maps a program can have (MAX_USED_MAPS of include/linux/bpf_verifier.h).
const mostMaps = 64

// most is how many programs there can be at one attach point (BPF_CGROUP_MAX_PROGS of
// kernel/bpf/cgroup.c, MAX_BPF_PROGS of kernel/bpf/net_namespace.c).
const most = 64

// Query lists the programs at an attach point of what target is (a cgroup, or a network
// namespace), and the flags with which they were attached there.
func Query(target int, attach uint32) (ids []uint32, flags uint32, err error) {
	ids = make([]uint32, most)
	var m memory
	defer m.Unpin()
	m.Pin(&ids[0])
	attr := struct {
		target, attach, flags, attachFlags uint32
		ids                                uint64
		count, _                           uint32
		progAttachFlags                    uint64
	}{target: uint32(target), attach: attach, ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: uint32(len(ids))}
	_, err = call(unix.BPF_PROG_QUERY, &attr)
	if err != nil {
		return nil, 0, failed(err, "query programs")
	}
	return ids[:min(int(attr.count), len(ids))], attr.attachFlags, nil
}
