// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Pins are the directories of what portguard has pinned for this lab: with one file for each
// map and each link.
func Pins() []string {
	dirs, _ := filepath.Glob("/sys/fs/bpf/portguard/*")
	return dirs
}

// Held lists what is held against binds in the namespace: "tcp 8080 :: flags", a line each, and
// addresses that are left out. It reads the maps by itself.
func (n *Netns) Held() string {
	n.T.Helper()
	var all []string
	for _, dir := range Pins() {
		for _, name := range []string{"ports", "spare", "refused"} {
			some, err := n.elements(filepath.Join(dir, name), name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				n.T.Fatalf("%s: %v", n.Name, err)
			}
			all = append(all, some...)
		}
	}
	slices.Sort(all)
	// What is left out of all ports is the node's, and follows it with each call.
	others := slices.DeleteFunc(slices.Clone(all), func(line string) bool { return strings.HasPrefix(line, "spare 0 ") })
	if len(others) > 0 {
		all = others
	}
	return strings.Join(all, "\n")
}

// elements are those of one map that are the namespace's.
func (n *Netns) elements(path, name string) (out []string, err error) {
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	var k, v []byte
	cookie, all := n.Cookie(), m.Iterate()
	for all.Next(&k, &v) {
		addr := func(b []byte) string { return netip.AddrFrom16([16]byte(b)).Unmap().String() }
		u32 := binary.NativeEndian.Uint32
		switch {
		case name == "spare" && binary.NativeEndian.Uint64(k[8:]) == cookie:
			out = append(out, fmt.Sprintf("spare %d %s %d", u32(k[4:]), addr(k[16:32]), u32(k)-96))
		case name != "spare" && binary.NativeEndian.Uint64(k) == cookie:
			line := fmt.Sprintf("%s %d/%d %s", name, binary.BigEndian.Uint16(k[24:]), k[26], addr(k[8:24]))
			if name == "ports" {
				line += fmt.Sprintf(" %d", u32(v[56:]))
			}
			out = append(out, line)
		}
	}
	return out, all.Err()
}

// Cookie is the namespace's (SO_NETNS_COOKIE).
func (n *Netns) Cookie() (cookie uint64) {
	n.T.Helper()
	var err error
	n.Do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
			cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
			unix.Close(fd)
		}
	})
	if err != nil {
		n.T.Fatalf("%s: %v", n.Name, err)
	}
	return cookie
}
