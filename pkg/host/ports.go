// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// reservedPorts are ports that the kernel does not choose by itself. It is that of the calling
// thread's network namespace.
const reservedPorts = "/proc/sys/net/ipv4/ip_local_reserved_ports"

// Ports are the sysctls about ports that the kernel chooses.
type Ports struct{}

// EphemeralPorts returns ip_local_port_range.
func (Ports) EphemeralPorts() (from, to uint16, err error) { return EphemeralPorts() }

// ReservedPorts returns the ranges of ip_local_reserved_ports.
func (Ports) ReservedPorts() ([][2]uint16, error) { return ReservedPorts() }

// ReservePorts adds ports to ip_local_reserved_ports. What is written behind the beginning of
// the file is added to what is there (proc_do_large_bitmap of kernel/sysctl.c), so nobody
// else's is lost.
func (Ports) ReservePorts(ports []uint16) error {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = strconv.Itoa(int(p))
	}
	return writePorts(list, 1)
}

// FreePorts takes ports away from ip_local_reserved_ports. What somebody else adds between
// the reading and the writing is lost, so nothing is written if none of them is there.
func (Ports) FreePorts(ports []uint16) error {
	has, err := ReservedPorts()
	if err != nil {
		return err
	}
	rest := Less(has, ports)
	if slices.Equal(rest, has) {
		return nil
	}
	var list []string
	for _, r := range rest {
		text := strconv.Itoa(int(r[0]))
		if r[0] < r[1] {
			text = fmt.Sprintf("%d-%d", r[0], r[1])
		}
		list = append(list, text)
	}
	return writePorts(list, 0)
}

// Less are ranges without some ports.
func Less(ranges [][2]uint16, ports []uint16) (out [][2]uint16) {
	ports = slices.Clone(ports)
	hostport.SortPorts(ports)
	for _, r := range ranges {
		from, to := int(r[0]), int(r[1])
		for _, p := range ports {
			if p := int(p); from <= p && p <= to {
				if from < p {
					out = append(out, [2]uint16{uint16(from), uint16(p - 1)})
				}
				from = p + 1
			}
		}
		if from <= to {
			out = append(out, [2]uint16{uint16(from), uint16(to)})
		}
	}
	return out
}

// writePorts writes a list at an offset, in pieces that the kernel takes (less than a page);
// those behind the first are added.
func writePorts(list []string, at int64) error {
	f, err := os.OpenFile(reservedPorts, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("could not write ip_local_reserved_ports: %w", err)
	}
	defer f.Close()
	const few = 300 // of at most 12 characters each
	for {
		piece := list[:min(few, len(list))]
		if _, err := f.WriteAt([]byte(strings.Join(piece, ",")+"\n"), at); err != nil {
			return fmt.Errorf("could not write ip_local_reserved_ports: %w", err)
		}
		if list, at = list[len(piece):], 1; len(list) == 0 {
			return nil
		}
	}
}
