// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Ports are neighbouring ports, of one protocol or, without one, of all.
type Ports struct {
	From, To uint16
	Proto    Proto
}

// SortPorts sorts ports. slices.Sort is 4 KB of the program for each type.
func SortPorts(ports []uint16) {
	sort.Slice(ports, func(i, j int) bool { return ports[i] < ports[j] })
}

// ParsePorts reads "22", "22/tcp" or "10248-10250/tcp".
func ParsePorts(s string) (p Ports, err error) {
	ports, proto, given := strings.Cut(s, "/")
	if given {
		if p.Proto, err = ParseProto(proto); err != nil || proto == "" {
			return p, fmt.Errorf("%q is not a protocol (want tcp, udp or sctp, or no slash for all)", proto)
		}
	}
	from, to, ranged := strings.Cut(ports, "-")
	if !ranged {
		to = from
	}
	for _, v := range []struct {
		text string
		into *uint16
	}{{from, &p.From}, {to, &p.To}} {
		n, err := strconv.ParseUint(v.text, 10, 16)
		if err != nil || n == 0 {
			return p, fmt.Errorf(`%q is not a port (want 1-65535, such as "22/tcp" or "10248-10250/tcp")`, v.text)
		}
		*v.into = uint16(n)
	}
	if p.From > p.To {
		return p, fmt.Errorf("%q ends before it begins", ports)
	}
	return p, nil
}

// Has reports whether m asks for one of them.
func (p Ports) Has(m Mapping) bool {
	return p.From <= m.HostPort && m.HostPort <= p.To && (p.Proto == 0 || p.Proto == m.Proto)
}

// String is what ParsePorts reads.
func (p Ports) String() string {
	s := strconv.Itoa(int(p.From))
	if p.To != p.From {
		s += "-" + strconv.Itoa(int(p.To))
	}
	if p.Proto != 0 {
		s += "/" + p.Proto.String()
	}
	return s
}
