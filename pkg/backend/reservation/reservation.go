// SPDX-License-Identifier: Apache-2.0

// Package reservation is the backend that holds ports of mappings against others: while one
// lives, a bind to its port fails on the node with EADDRINUSE. BPF programs at the root of the
// cgroups refuse it; what they know is in maps, which a bpffs keeps. Package holds decides
// what is in them.
package reservation

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/reservation/holds"
	"github.com/portguard/portguard/pkg/bpf"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// Name is the backend's.
const Name = "reservation"

// Ports are the sysctls about ports that the kernel chooses.
type Ports interface {
	EphemeralPorts() (from, to uint16, err error)
	ReservedPorts() ([][2]uint16, error)
	// ReservePorts adds ports to ip_local_reserved_ports, FreePorts takes them away.
	ReservePorts(ports []uint16) error
	FreePorts(ports []uint16) error
}

// Options are what the backend depends on.
type Options struct {
	Ports Ports
	// Spared are addresses that no mapping captures.
	Spared []netip.Prefix
	// Links are those by which sockets that are bound to one receive packets for an address.
	Links func(netip.Addr) []int
	// Known reports whether somebody else knows an attachment.
	Known func(hostport.Key) bool
	// Bound is told of slots that somebody has bound who was there before.
	Bound func(holds.Slot)
}

// A Backend holds ports in one network namespace: that of the calling thread.
type Backend struct {
	Options
	// at is the root of the cgroups, open from its first use until the process ends.
	at    root
	netns uint64
	// off is why nothing could be held, once that is known.
	off error
}

var _ backend.Holder = (*Backend)(nil)

// New returns the backend.
func New(o Options) *Backend { return &Backend{Options: o} }

// Name implements backend.Backend.
func (b *Backend) Name() string { return Name }

// Holds implements backend.Holder.
func (b *Backend) Holds() {}

// Owns implements backend.Backend: programs that are attached to cgroups are no chains.
func (b *Backend) Owns(nft.Table, string) bool { return false }

// Load implements backend.Backend. Where nothing can be held, for example because the caller may
// not, there is nothing.
func (b *Backend) Load() (backend.State, error) {
	node, err := b.node()
	if err != nil {
		return nil, err
	}
	if b.netns, err = cookie(); err != nil {
		return b.none(node, err)
	}
	r, err := b.root()
	if err != nil {
		return b.none(node, err)
	}
	h, err := r.maps(bpf.OpenMap)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return holds.None(node, sync.OnceValue(lacks)), nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOSYS): // a kernel without BPF
		return b.none(node, err)
	case err != nil:
		return nil, err
	}
	defer h.close()
	l := &holds.Loader{Netns: b.netns, Node: node, Known: b.Known, Boot: booted()}
	for _, at := range hooks() {
		switch _, err := h.inPlace(r, at); {
		case errors.Is(err, fs.ErrNotExist):
			l.Lacks = sync.OnceValue(lacks)
		case errors.Is(err, fs.ErrPermission): // programs are asked for by CAP_SYS_ADMIN only
			return b.none(node, err)
		case err != nil:
			return nil, err
		}
	}
	if err := h.read(l); err != nil {
		return nil, fmt.Errorf("could not read which ports are held: %w", err)
	}
	return l.State(), nil
}

// none is the State of a node on which nothing can be held. Where files or memory are short nobody
// knows whether that is so, and what was held still is.
func (b *Backend) none(n holds.Node, err error) (backend.State, error) {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) {
		return nil, fmt.Errorf("could not read which ports are held: %w", err)
	}
	b.off = off(err)
	return holds.None(n, func() string { return err.Error() }), nil
}

func (b *Backend) root() (_ root, err error) {
	if b.at.id == 0 {
		b.at, err = openRoot()
	}
	return b.at, err
}

func (b *Backend) node() (n holds.Node, err error) {
	n.Spared, n.Links = b.Spared, b.Links
	if n.From, n.To, err = b.Ports.EphemeralPorts(); err == nil {
		n.Listed, err = b.Ports.ReservedPorts()
	}
	return n, err
}

// lacks says why nothing can be held, "" if it can.
func lacks() string {
	if err := Possible(); err != nil {
		return strings.TrimPrefix(err.Error(), ErrOff.Error()+": ")
	}
	return ""
}

// Possible reports why ports cannot be held on this node, as far as that can be told without
// changing it.
func Possible() error {
	if _, err := cookie(); err != nil {
		return off(err)
	}
	r, err := openRoot()
	if err != nil {
		return off(err)
	}
	defer r.close()
	return r.possible()
}

// booted is when the clock began that tells when binds were refused.
func booted() time.Time {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // the kernel has it
	return time.Now().Add(-time.Duration(ts.Nano()))
}

// Apply implements backend.Backend. Without the programs it does nothing, unless an
// attachment must not be without.
func (b *Backend) Apply(have, want backend.State) error {
	h, w := have.(holds.State), want.(holds.State)
	c := holds.Diff(h, w)
	if c.Empty() && h.Attached() == w.Attached() {
		return nil
	}
	err := b.off
	if err == nil {
		err = b.apply(h, w, c)
	}
	if errors.Is(err, ErrOff) {
		if b.off = err; !w.Required() {
			return nil
		}
	}
	return err
}

func (b *Backend) apply(h, w holds.State, c holds.Change) error {
	r, err := b.root()
	if err != nil {
		return off(err)
	}
	get := r.ensure
	if !w.Attached() {
		get = func() (*hook, error) { return r.maps(bpf.OpenMap) }
	}
	k, err := get()
	if errors.Is(err, ErrOff) && h.Attached() { // programs of another version, which read these maps
		if there, e := r.maps(bpf.OpenMap); e == nil {
			k, err = there, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) && !w.Attached() {
		return nil // somebody removed the pins, and with them all
	}
	if err != nil {
		return err
	}
	defer k.close()
	if err = b.take(k, c, holds.Fresh(h, w)); errors.Is(err, unix.E2BIG) { // what goes makes room
		if err = b.run(k, c.Leaving()); err == nil {
			err = b.run(k, c)
		}
	}
	if err == nil {
		return nil
	}
	back := holds.Diff(w, h)
	full := errors.Is(err, unix.E2BIG)
	if full {
		back = back.Leaving()
	}
	undo := b.run(k, back)
	if full && undo == nil {
		return off(fmt.Errorf("the maps of the programs are full: at most %d ports of a machine are held", maxPorts))
	}
	err = fmt.Errorf("could not hold ports against binds of others: %w", err)
	if undo != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", backend.ErrNotUndone, undo))
	}
	return err
}

// take makes a change while sockets of our own have the slots that were free before. So of
// everybody else it is known who has a port: those that could not be bound, because a program
// cannot tell what was bound before it knew of the port, and sockets that do not listen yet are
// hard to find.
func (b *Backend) take(k *hook, c holds.Change, fresh []holds.Slot) error {
	for n := 0; len(fresh) > 0; fresh = fresh[n:] {
		fd, err := 0, error(nil)
		switch fd, n, err = occupyFirst(fresh); {
		case err == nil:
			defer unix.Close(fd)
		case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EADDRNOTAVAIL):
		case b.Bound != nil:
			b.Bound(fresh[0])
		}
	}
	return b.run(k, c)
}

// run makes a change.
func (b *Backend) run(k *hook, c holds.Change) error {
	return k.write(c, b.netns, b.Ports)
}

// Try implements backend.Backend.
func (b *Backend) Try(have, want backend.State) error {
	h, w := have.(holds.State), want.(holds.State)
	if !w.Required() || !w.Attached() || h.Attached() {
		return nil
	}
	if b.off != nil {
		return b.off
	}
	return Possible()
}
