// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/legacy"
	"github.com/portguard/portguard/pkg/nft"
)

// Options of sockets that ask for a table (include/uapi/linux/netfilter_ipv4/ip_tables.h;
// those of ip6_tables.h have the same numbers).
const (
	getInfo    = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
	getEntries = 65 // IPT_SO_GET_ENTRIES, IP6T_SO_GET_ENTRIES
)

// maxTries is how often a table is asked for again that changed its size meanwhile. The
// kernel hands out a table as it is at one moment, so no more is needed.
const maxTries = 100

// legacyNames are the names of the tables of iptables-legacy that exist. Asking for
// another one would make it. The file is missing if the kernel has no ip_tables. In a
// network namespace that is older than the map of its user namespace, it belongs to a user
// who is nobody there; then there is no other way than to ask.
func legacyNames(proc string, f hostport.Family) (names []string, err error) {
	name := map[hostport.Family]string{hostport.IPv4: "ip_tables_names", hostport.IPv6: "ip6_tables_names"}[f]
	b, err := os.ReadFile(filepath.Join(proc, "thread-self/net", name))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, os.ErrPermission):
		names, err = askNames(f)
	default:
		names = strings.Fields(string(b))
	}
	if err != nil {
		return nil, fmt.Errorf("could not read the names of the %s tables of iptables-legacy: %w", f, err)
	}
	return names, nil
}

// askNames asks for each table that matters. The kernel makes it, empty, if it can.
func askNames(f hostport.Family) (names []string, err error) {
	for _, name := range []string{"raw", "mangle", "nat", "filter"} {
		switch _, _, err := askLegacy(nft.Table{Family: f.NFProto(), Name: name}); {
		case err == nil:
			names = append(names, name)
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOPROTOOPT): // there is no such table, or no ip_tables
			return nil, err
		}
	}
	return names, nil
}

// readLegacy reads a table of iptables-legacy in the calling thread's network namespace.
func readLegacy(t nft.Table) (*legacy.Table, error) {
	info, entries, err := askLegacy(t)
	if err != nil {
		return nil, fmt.Errorf("could not read iptables-legacy table %s: %w", t, err)
	}
	return legacy.Decode(t, info, entries)
}

// askLegacy asks for the size of a table, then for its entries. EAGAIN means that the size
// is another one by now.
func askLegacy(t nft.Table) (info, entries []byte, err error) {
	domain, level := unix.AF_INET, unix.SOL_IP
	if t.Family == nft.IPv6 {
		domain, level = unix.AF_INET6, unix.SOL_IPV6
	}
	// Any socket of the family answers; a raw one would need CAP_NET_RAW too.
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd)
	for range maxTries {
		info = legacy.InfoRequest(t.Name)
		if err = getsockopt(fd, level, getInfo, info); err != nil {
			return nil, nil, err
		}
		if entries, err = legacy.EntriesRequest(t.Name, info); err != nil {
			return nil, nil, err
		}
		if err = getsockopt(fd, level, getEntries, entries); !errors.Is(err, unix.EAGAIN) {
			return info, entries, err
		}
	}
	return nil, nil, unix.EAGAIN
}

// getsockopt has the kernel read a question from b and write the answer over it.
// golang.org/x/sys/unix has no such function.
func getsockopt(fd, level, name int, b []byte) error {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(&size)), 0)
	switch {
	case errno != 0:
		return errno
	case int(size) != len(b):
		return fmt.Errorf("the kernel answered with %d bytes instead of %d", size, len(b))
	}
	return nil
}
