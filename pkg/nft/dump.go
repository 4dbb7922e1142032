// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel fills one buffer a read, some hundreds of elements, and goes on
// with the dump only when it is asked for more.
const (
	fewReads  = 4
	manyReads = 100_000
)

// maxTries is how often an interrupted dump is asked for again before it is an
// error.
const maxTries = 5

func request(msg, flags int, family uint8, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(subsys<<8|msg, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req
}

// ask sends a request and returns the answers' attributes.
func ask(msg, flags int, family uint8, attrs ...*nl.RtAttr) (out [][]byte, err error) {
	if flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP {
		err = again(func() error {
			out = nil
			return each(msg, family, func(m []byte) error {
				out = append(out, bytes.Clone(m))
				return nil
			}, attrs...)
		})
		return out, err
	}
	out, err = request(msg, flags, family, attrs...).Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return nil, err
	}
	for i, m := range out {
		if len(m) < nfgenmsgLen {
			return nil, errAttr
		}
		out[i] = m[nfgenmsgLen:]
	}
	return out, nil
}

// again repeats a dump that was interrupted by a change.
func again(f func() error) (err error) {
	for range maxTries {
		if err = f(); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return err
}

// each dumps and calls f for the attributes of each message, which are gone when
// it returns.
func each(msg int, family uint8, f func(m []byte) error, attrs ...*nl.RtAttr) error {
	whole, err := dump(request(msg, unix.NLM_F_DUMP, family, attrs...), manyReads, f)
	if err == nil && !whole {
		return errors.New("the dump does not end")
	}
	return err
}

// dump sends a dump request and reads at most limit times. The library's own
// Execute would drain the rest, and copies everything twice; closing the socket
// ends the dump at once. An interrupted dump is EINTR.
func dump(req *nl.NetlinkRequest, limit int, f func(m []byte) error) (whole bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	timeout := unix.Timeval{Sec: 60}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return false, err
	}
	if err := unix.Sendto(fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	buf := make([]byte, 1<<16) // the kernel fills 32 KiB at most
	for range limit {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue // a signal, not the dump
		}
		if err != nil {
			return false, err
		}
		if done, err := messages(buf[:n], f); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// messages goes through what one read brought. Done is set at the end of the dump.
func messages(b []byte, f func(m []byte) error) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return false, errAttr
		}
		typ, flags, data := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), b[unix.NLMSG_HDRLEN:n]
		switch {
		case flags&unix.NLM_F_DUMP_INTR != 0:
			return false, unix.EINTR
		case typ == unix.NLMSG_DONE || typ == unix.NLMSG_ERROR:
			return true, doneError(data)
		case len(data) < nfgenmsgLen:
			return false, errAttr
		}
		if err := f(data[nfgenmsgLen:]); err != nil {
			return false, err
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return false, nil
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
