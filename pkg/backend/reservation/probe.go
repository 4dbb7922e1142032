// SPDX-License-Identifier: Apache-2.0

package reservation

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend/reservation/holds"
	"github.com/portguard/portguard/pkg/hostport"
)

// cookie is that of the calling thread's network namespace.
func cookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("the kernel does not tell network namespaces apart (SO_NETNS_COOKIE, Linux 5.14): %w", err)
	}
	return c, nil
}

// probe tries what the programs do, in a network namespace made for it: versions of kernels
// tell little, because vendors change them.
func probe(h *hook) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and the namespace with it.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = try(h)
		}
		done <- err
	}()
	return <-done
}

// try holds a port on all addresses of IPv4, and binds.
func try(h *hook) error {
	netns, err := cookie()
	if err != nil {
		return err
	}
	pod := hostport.Attachment{Owner: hostport.Owner{ContainerID: "probe"}}
	pod.Mappings = []hostport.Mapping{{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: probed}, {Family: hostport.IPv4, Proto: hostport.UDP, HostPort: probed}}
	none := holds.None(holds.Node{}, nil)
	held := none.With(pod).(holds.State)
	if err := h.write(holds.Diff(none, held), netns, nil); err != nil {
		return err
	}
	for _, t := range trials() {
		if err = t.run(); err != nil {
			break
		}
	}
	return errors.Join(err, h.write(holds.Diff(held, none), netns, nil))
}

// probed is the port of the probe.
const probed = 1

// A trial is one bind, and whether it is refused.
type trial struct {
	what         string
	family, kind int
	v6only       bool
	addr         netip.Addr
	port         uint16
	refused      bool
}

func trials() []trial {
	var out []trial
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		out = append(out,
			trial{"0.0.0.0", unix.AF_INET, kind, false, netip.IPv4Unspecified(), probed, true},
			trial{"another port", unix.AF_INET, kind, false, netip.IPv4Unspecified(), probed + 1, false},
			trial{"any port", unix.AF_INET, kind, false, netip.IPv4Unspecified(), 0, false},
			trial{"::", unix.AF_INET6, kind, false, netip.IPv6Unspecified(), probed, true},
			trial{":: with IPV6_V6ONLY", unix.AF_INET6, kind, true, netip.IPv6Unspecified(), probed, false},
		)
	}
	return out
}

// run binds. A family that the kernel does not have is not tried.
func (t trial) run() error {
	fd, err := unix.Socket(t.family, t.kind|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: int(t.port)}
	if t.family == unix.AF_INET6 {
		to = &unix.SockaddrInet6{Port: int(t.port)}
		only := 0
		if t.v6only {
			only = 1
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return err
		}
	}
	err = unix.Bind(fd, to)
	if t.refused == errors.Is(err, unix.EADDRINUSE) && (t.refused || err == nil) {
		return nil
	}
	return fmt.Errorf("%w: bind to %s of a port that is held for IPv4: %w", errTrial, t.what, cmp.Or(err, errNotRefused))
}

var (
	// errTrial means that this kernel does something else with the programs.
	errTrial      = errors.New("a trial did not do what it should")
	errNotRefused = errors.New("not refused")
)
