// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// Flows returns what the node's connected UDP sockets receive on the ports of the mappings.
func (r *Reader) Flows(mappings []hostport.Mapping) ([]hostport.Flow, error) {
	var ports []uint16
	for _, m := range mappings {
		if m.Proto == hostport.UDP {
			ports = append(ports, m.HostPort)
		}
	}
	hostport.SortPorts(ports)
	if ports = slices.Compact(ports); len(ports) > fewPorts {
		ports = []uint16{0}
	}
	var out []hostport.Flow
	for _, p := range ports {
		flows, err := r.flowsAt(p)
		if err != nil {
			return nil, fmt.Errorf("could not read the connected UDP sockets of the node: %w", err)
		}
		out = append(out, flows...)
	}
	return hostport.Meeting(out, mappings), nil
}

// flowsAt asks sock_diag for a port, 0 for all, and /proc where the kernel has no handler
// for it.
func (r *Reader) flowsAt(port uint16) (out []hostport.Flow, err error) {
	families := []uint8{unix.AF_INET}
	if exists(r.net("if_inet6")) {
		families = append(families, unix.AF_INET6)
	}
	for _, f := range families {
		flows, err := r.dumpFlows(f, port)
		if noHandler(err) {
			return r.flowsInProc()
		}
		if err != nil {
			return nil, err
		}
		out = append(out, flows...)
	}
	return out, nil
}

func (r *Reader) flowsInProc() (out []hostport.Flow, err error) {
	for _, name := range []string{"udp", "udp6"} {
		f, err := os.Open(r.net(name))
		if errors.Is(err, fs.ErrNotExist) && name == "udp6" { // IPv6 is switched off
			break
		}
		if err != nil {
			return nil, err
		}
		flows, err := parseFlows(f, binary.NativeEndian)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		out = append(out, flows...)
	}
	return out, nil
}
