// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel fills one buffer a read, some hundreds of elements, and goes on
// with the dump only when it is asked for more.
const (
	fewReads  = 4
	manyReads = 10_000
)

// dumpSome sends a dump request and reads at most limit times. The library's
// own Execute would drain the rest; closing the socket ends the dump at once.
func dumpSome(req *nl.NetlinkRequest, limit int) (out [][]byte, whole bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, false, err
	}
	for range limit {
		buf := make([]byte, 65536)
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return nil, false, err
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return nil, false, fmt.Errorf("netlink: %w", err)
		}
		for _, m := range msgs {
			switch {
			case m.Header.Flags&unix.NLM_F_DUMP_INTR != 0:
				return nil, false, unix.EINTR
			case m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR:
				return out, true, doneError(m.Data)
			case len(m.Data) < nfgenmsgLen:
				return nil, false, errAttr
			}
			out = append(out, m.Data[nfgenmsgLen:])
		}
	}
	return out, false, nil
}

// doneError reads the error number in the last message of a dump.
func doneError(b []byte) error {
	if len(b) >= 4 {
		if e := int32(binary.NativeEndian.Uint32(b)); e != 0 {
			return unix.Errno(-e)
		}
	}
	return nil
}
