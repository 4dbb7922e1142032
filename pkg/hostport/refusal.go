// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"net/netip"
	"time"
)

// A Refusal is what is remembered of binds that were refused because a mapping has the port.
type Refusal struct {
	Proto Proto
	Port  uint16
	Count uint64
	// Addr is where the last one was to, PID and Command who tried it. PID is 0 where the kernel
	// does not tell.
	Addr    netip.Addr
	PID     int
	Command string
	Last    time.Time
	// Group is the lower half of the ID of the cgroup above that of the process, 0 if there is
	// none: of a container's process, that of the pod.
	Group uint32
	// Keys are the attachments that hold the port.
	Keys []Key
}
