// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Reader reads the listeners of the calling thread's network namespace.
type Reader struct {
	// Proc is where procfs is mounted. Of it net/ is read as thread-self/net:
	// plain net/ shows the namespace of the process's first thread.
	Proc string
	// PodLogs holds a directory "namespace_name_uid" for each pod.
	PodLogs string
	// Nerdctl holds a file NAMESPACE/CONTAINER/port-reserver.pid for each container of
	// nerdctl's that has published ports.
	Nerdctl string
	// Patience bounds the search for the holders of sockets.
	Patience time.Duration
	// Bound, if set, reports whether somebody has a TCP port bound, even without listening.
	Bound func(port uint16) bool
	// dump and bound are sock_diag; links, if set, lists those of the network namespace.
	dump  func(family uint8, proto hostport.Proto, port uint16) ([]hostport.Listener, error)
	bound func(family uint8, port uint16) ([]hostport.Listener, error)
	links func() ([]netlink.Link, error)
	// dumpFlows is sock_diag for connected UDP sockets.
	dumpFlows func(family uint8, port uint16) ([]hostport.Flow, error)
}

// New returns a Reader of this machine.
func New(podLogs string) *Reader {
	return &Reader{Proc: "/proc", PodLogs: podLogs, Nerdctl: "/run/nerdctl", Patience: Patience, dump: dump, bound: dumpBound, links: netlink.LinkList, dumpFlows: dumpFlows}
}

// fewPorts is up to how many ports one request a port is cheaper than one for
// all of them.
const fewPorts = 8

// Read returns who waits on the ports of the mappings, named where possible.
func (r *Reader) Read(mappings []hostport.Mapping) ([]hostport.Listener, error) {
	wanted := map[hostport.Proto][]uint16{}
	for _, m := range mappings {
		wanted[m.Proto] = append(wanted[m.Proto], m.HostPort)
	}
	var out []hostport.Listener
	for proto, ports := range wanted {
		hostport.SortPorts(ports)
		ports = slices.Compact(ports) // both families ask for a port
		ls, err := r.protocol(proto, ports)
		if err != nil {
			return nil, fmt.Errorf("could not read the %s sockets of the node: %w", proto, err)
		}
		for _, l := range ls {
			if _, asked := slices.BinarySearch(ports, l.Port); asked {
				out = append(out, l)
			}
		}
	}
	out = r.nameDevices(out)
	r.name(out)
	r.nameLinks(out)
	return out, nil
}

// Waiting returns who waits on a port in the calling thread's network namespace, without names.
func Waiting(proto hostport.Proto, port uint16) ([]hostport.Listener, error) {
	return New("").protocol(proto, []uint16{port})
}

func (r *Reader) net(file string) string { return filepath.Join(r.Proc, "thread-self", "net", file) }

// protocol asks sock_diag, and /proc where the kernel has no handler for it.
func (r *Reader) protocol(proto hostport.Proto, ports []uint16) ([]hostport.Listener, error) {
	if proto == hostport.SCTP && !exists(r.net("sctp/eps")) {
		// SCTP is not in this kernel now; asking would load its module.
		return nil, nil
	}
	families := []uint8{unix.AF_INET}
	if exists(r.net("if_inet6")) {
		families = append(families, unix.AF_INET6)
	}
	asked := ports
	if len(ports) > fewPorts {
		asked = []uint16{0}
	}
	out, err := r.inactive(proto, ports, families)
	if err != nil {
		return nil, err
	}
	for _, f := range families {
		for _, p := range asked {
			ls, err := r.dump(f, proto, p)
			if noHandler(err) {
				return r.fallback(proto)
			}
			if err != nil {
				return nil, err
			}
			for _, l := range ls {
				out = slices.DeleteFunc(out, func(o hostport.Listener) bool { return o.Bound && o.Inode != 0 && o.Inode == l.Inode })
			}
			out = append(out, ls...)
		}
	}
	return out, nil
}

// inactive are the TCP sockets that are bound and do not listen yet, if somebody has one of the
// ports. They are asked for before those that listen: one that begins to meanwhile is seen
// there.
func (r *Reader) inactive(proto hostport.Proto, ports []uint16, families []uint8) (out []hostport.Listener, err error) {
	if proto != hostport.TCP || r.Bound == nil || !slices.ContainsFunc(ports, r.Bound) {
		return nil, nil
	}
	for _, f := range families {
		ls, err := r.bound(f, 0)
		if noHandler(err) {
			return nil, nil // nor for those that listen
		}
		if err != nil {
			return nil, err
		}
		out = append(out, ls...)
	}
	return out, nil
}

// noHandler reports whether sock_diag does not know the protocol: ENOENT from
// inet_diag_lock_handler, EINVAL from sock_diag_rcv_msg without inet_diag, and
// EPROTONOSUPPORT from a kernel without sock_diag.
func noHandler(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT)
}

func (r *Reader) fallback(proto hostport.Proto) ([]hostport.Listener, error) {
	if proto == hostport.SCTP {
		return r.file("sctp/eps", proto)
	}
	v4, err := r.file(proto.String(), proto)
	if err != nil {
		return nil, err
	}
	v6, err := r.file(proto.String()+"6", proto)
	if errors.Is(err, fs.ErrNotExist) { // IPv6 is switched off
		return v4, nil
	}
	return append(v4, v6...), err
}

func (r *Reader) file(name string, proto hostport.Proto) ([]hostport.Listener, error) {
	f, err := os.Open(r.net(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ls []hostport.Listener
	if proto == hostport.SCTP {
		ls, err = parseSCTP(f)
	} else {
		ls, err = parseInet(f, proto, binary.NativeEndian)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return ls, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
