// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"net/netip"
	"os"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/way"
)

// A Home is where an attachment is.
type Home struct {
	// Open opens its network namespace, nil if that is not seen from here. Path leads there, for
	// people.
	Open         func() ns.NetNS
	Path, IfName string
	// Same reports whether the calling thread is in it, and not in another one in its place.
	Same func() bool
	// Link is the node's link to the pod at its ADD.
	Link    string
	MasqAll bool
}

// within calls f on a thread in the network namespace.
func (h Home) within(f func(ns.NetNS) error) error {
	netns := h.Open()
	if netns == nil {
		return os.ErrNotExist
	}
	defer func() { _ = netns.Close() }()
	return netns.Do(func(ns.NetNS) error {
		if !h.Same() {
			return os.ErrNotExist
		}
		return f(netns)
	})
}

// Ears tell who waits for packets in the calling thread's network namespace, and whether rules
// there may send them on.
type Ears func(hostport.Proto, uint16) (all []hostport.Listener, rules bool, err error)

// Pods looks into the network namespaces of pods. What cannot be read, for whatever reason, is
// not known, and no error: most of what people ask has nothing to do with it.
type Pods struct {
	home  func(hostport.Key) Home
	ears  Ears
	homes map[hostport.Key]Home
	seen  map[hostport.Key]*pod
	// node are the links and neighbours of the node, once they were read.
	node *namespace
	// asked are visits to any port.
	asked map[way.Visit]*way.Inside
}

// NewPods returns one that knows nothing yet. Without ears nobody is asked who waits in a pod.
func NewPods(home func(hostport.Key) Home, ears Ears) *Pods {
	return &Pods{home: home, ears: ears, homes: map[hostport.Key]Home{}, seen: map[hostport.Key]*pod{}, asked: map[way.Visit]*way.Inside{}}
}

// Close closes what is open.
func (p *Pods) Close() {
	for _, x := range p.seen {
		if x != nil {
			x.Close()
		}
	}
	if p.node != nil {
		p.node.Close()
	}
}

// Look implements way.Pods.
func (p *Pods) Look(v way.Visit) *way.Inside {
	x := p.pod(v.Key)
	if x == nil {
		return nil
	}
	port := v
	port.Proto, port.To = 0, netip.AddrPortFrom(v.To.Addr(), 0)
	in, known := p.asked[port]
	if !known {
		in = x.look(v, p.node, bridgesFilter(v.To.Addr().Is4()))
		p.asked[port] = in
	}
	if in == nil || p.ears == nil || x.guest {
		return in
	}
	out := *in
	out.Unheard = p.unheard(x.home, v)
	return &out
}

// Link implements way.Pods.
func (p *Pods) Link(key hostport.Key) string {
	name := p.at(key).Link
	if name == "" {
		return ""
	}
	l, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	switch {
	case errors.As(err, &none):
		return name + " is gone"
	case err == nil && l.Attrs().RawFlags&unix.IFF_UP == 0:
		return name + " is down"
	}
	return ""
}

func (p *Pods) at(key hostport.Key) Home {
	h, known := p.homes[key]
	if !known {
		h = p.home(key)
		p.homes[key] = h
	}
	return h
}

// pod reads a pod's network, once.
func (p *Pods) pod(key hostport.Key) *pod {
	x, known := p.seen[key]
	if known {
		return x
	}
	h := p.at(key)
	if h.Open != nil && p.node == nil {
		p.node, _ = readNamespace()
	}
	if h.Open != nil && p.node != nil {
		x = p.enter(h)
	}
	p.seen[key] = x
	return x
}

func (p *Pods) enter(h Home) *pod {
	x := &pod{home: h}
	err := h.within(func(netns ns.NetNS) (err error) {
		if x.namespace, err = readNamespace(); err != nil {
			return err
		}
		x.raw = packetSocket()
		x.id, err = p.node.GetNetNsIdByFd(int(netns.Fd())) // the node's socket
		return err
	})
	if err != nil {
		if x.namespace != nil {
			x.Close()
		}
		return nil
	}
	return x
}

// unheard says that nobody in the pod waits for packets.
func (p *Pods) unheard(h Home, v way.Visit) string {
	if v.Proto == hostport.SCTP { // which may be spoken by a program alone
		return ""
	}
	var all []hostport.Listener
	var rules bool
	err := h.within(func(ns.NetNS) (err error) {
		all, rules, err = p.ears(v.Proto, v.To.Port())
		return err
	})
	if err != nil {
		return ""
	}
	return way.Unheard(v, all, rules)
}
