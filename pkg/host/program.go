// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/bpf"
	"github.com/portguard/portguard/pkg/hostport"
)

// SocketPrograms are the BPF programs that choose sockets in the calling thread's network
// namespace. A kernel that does not know the type (before Linux 5.9), or no BPF, has none.
func SocketPrograms() (p hostport.Programs, err error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return p, fmt.Errorf("could not ask for the BPF programs of the network namespace: %w", err)
	}
	defer ns.Close()
	ids, _, err := bpf.Query(int(ns.Fd()), unix.BPF_SK_LOOKUP)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return p, nil
	case errors.Is(err, unix.EPERM):
		p.Unknown = "the kernel lets only root of the machine ask for BPF programs"
		return p, nil
	case err != nil:
		return p, fmt.Errorf("could not ask for the BPF programs of the network namespace: %w", err)
	}
	for _, id := range ids {
		name, _ := bpf.Name(id) // for people: "" if that fails
		p.Attached = append(p.Attached, hostport.Program{ID: id, Name: name})
	}
	return p, nil
}
