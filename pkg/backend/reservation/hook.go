// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend/reservation/holds"
	"github.com/portguard/portguard/pkg/backend/reservation/program"
	"github.com/portguard/portguard/pkg/bpf"
)

// BPFFS is where the file system of BPF objects is mounted.
const BPFFS = "/sys/fs/bpf"

// layout names the directory of the pins: it changes with the structs of the maps. Programs
// of two layouts work beside each other.
const layout = "v1"

// Names of the pins.
const (
	pinPorts   = "ports"
	pinSpare   = "spare"
	pinRefused = "refused"
	pinBind4   = "bind4"
	pinBind6   = "bind6"
)

// ErrOff means that binds cannot be refused on this node, for the reason that it wraps.
var ErrOff = errors.New("binds cannot be refused")

// Most elements of the maps.
const (
	maxPorts   = 16384 // to list a hash, the kernel looks at so many buckets
	maxSpare   = 65536
	maxRefused = 4096
)

func specs() map[string]bpf.Spec {
	return map[string]bpf.Spec{
		pinPorts:   {Name: "portguard_ports", Type: unix.BPF_MAP_TYPE_HASH, Key: holds.SlotLen, Value: holds.HoldLen, Max: maxPorts, Flags: unix.BPF_F_NO_PREALLOC},
		pinSpare:   {Name: "portguard_spare", Type: unix.BPF_MAP_TYPE_LPM_TRIE, Key: holds.SparedLen, Value: 4, Max: maxSpare, Flags: unix.BPF_F_NO_PREALLOC},
		pinRefused: {Name: "portguard_refus", Type: unix.BPF_MAP_TYPE_HASH, Key: holds.SlotLen, Value: holds.RefusalLen, Max: maxRefused, Flags: unix.BPF_F_NO_PREALLOC},
	}
}

// A hook is the programs and maps at the root of the cgroups that this process sees: of the
// machine, or of its cgroup namespace.
type hook struct {
	ports, spare, refused *bpf.Map
}

func (h *hook) close() {
	for _, m := range []*bpf.Map{h.ports, h.spare, h.refused} {
		if m != nil {
			m.Close()
		}
	}
}

// dir holds the pins. Nodes in cgroup namespaces (kind) may share a bpffs.
func (r root) dir() string {
	return filepath.Join(BPFFS, "portguard", fmt.Sprintf("%s-%d", layout, r.id))
}

// maps opens or makes all maps.
func (r root) maps(get func(path string, s bpf.Spec) (*bpf.Map, error)) (*hook, error) {
	h := &hook{}
	for name, into := range map[string]**bpf.Map{pinPorts: &h.ports, pinSpare: &h.spare, pinRefused: &h.refused} {
		m, err := get(filepath.Join(r.dir(), name), specs()[name])
		if err != nil {
			h.close()
			return nil, err
		}
		*into = m
	}
	return h, nil
}

// A point is where a program is attached.
type point struct {
	pin    string
	attach uint32
	code   func(program.Programs) string
}

func hooks() []point {
	return []point{
		{pinBind4, unix.BPF_CGROUP_INET4_BIND, func(p program.Programs) string { return p.Bind4 }},
		{pinBind6, unix.BPF_CGROUP_INET6_BIND, func(p program.Programs) string { return p.Bind6 }},
	}
}

// linked is the program that a pinned link has at the root. It is fs.ErrNotExist if there is
// none: not pinned, or left from a cgroup that is gone.
func (r root) linked(at point) (p bpf.Program, err error) {
	fd, err := bpf.Open(filepath.Join(r.dir(), at.pin))
	if err != nil {
		return p, err
	}
	defer unix.Close(fd)
	l, err := bpf.LinkInfo(fd)
	if err == nil && l.Cgroup != r.id {
		err = fmt.Errorf("%s is a link to another cgroup: %w", at.pin, fs.ErrNotExist)
	}
	return l.Program, err
}

// inPlace is the name of the program at a point that reads these very maps. It is
// fs.ErrNotExist if there is none: a program keeps the maps that it was loaded with, also when
// others are pinned in their place.
func (h *hook) inPlace(r root, at point) (name string, err error) {
	p, err := r.linked(at)
	for _, m := range []*bpf.Map{h.ports, h.spare, h.refused} {
		if err == nil && !slices.Contains(p.Maps, m.ID) {
			err = fmt.Errorf("the program of %s reads other maps: %w", at.pin, fs.ErrNotExist)
		}
	}
	return p.Name, err
}

// current reports whether both programs are in place and of this version.
func (h *hook) current(r root) bool {
	for _, at := range hooks() {
		name, err := h.inPlace(r, at)
		if err != nil || name != program.Version(at.code(program.New(true))) && name != program.Version(at.code(program.New(false))) {
			return false
		}
	}
	return true
}

// mountable reports why nothing could be pinned. What is pinned in a mount namespace of one
// process goes with that.
func mountable() error {
	var st unix.Statfs_t
	if err := unix.Statfs(BPFFS, &st); err != nil {
		return off(fmt.Errorf("%s: %w", BPFFS, err))
	}
	if uint32(st.Type) == unix.BPF_FS_MAGIC { // it is an int32 on some machines
		return nil
	}
	own, err1 := os.Readlink("/proc/self/ns/mnt")
	first, err2 := os.Readlink("/proc/1/ns/mnt")
	if err := errors.Join(err1, err2); err != nil || own != first {
		return off(fmt.Errorf("no bpffs is mounted at %s where the container runtime runs; mount it there: mount -t bpf bpf %[1]s", BPFFS))
	}
	return nil
}

// mount mounts the bpffs if it is not.
func mount() error {
	var st unix.Statfs_t
	if err := unix.Statfs(BPFFS, &st); err == nil && uint32(st.Type) == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", BPFFS, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return off(fmt.Errorf("could not mount bpffs at %s: %w", BPFFS, err))
	}
	return nil
}
