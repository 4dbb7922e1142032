// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/walk"
)

// LinkTo returns the link by which the node reaches a pod, the zero Link if the pod is not
// on a link of this node (no route, or through a gateway).
func LinkTo(pod netip.Addr) (walk.Link, error) {
	l, err := linkTo(pod)
	if err != nil {
		err = fmt.Errorf("could not find the link to pod %s: %w", pod, err)
	}
	return l, err
}

func linkTo(pod netip.Addr) (to walk.Link, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return to, err
	}
	defer h.Close()
	routes, err := h.RouteGet(pod.AsSlice())
	if routeless(err) {
		return to, nil
	}
	if err != nil {
		return to, err
	}
	for _, r := range routes {
		if r.Gw != nil || r.Type != unix.RTN_UNICAST {
			continue
		}
		l, err := h.LinkByIndex(r.LinkIndex)
		if err != nil {
			return to, err
		}
		if l.Attrs().Flags&net.FlagLoopback == 0 {
			return walk.Link{Name: l.Attrs().Name, Index: r.LinkIndex}, nil
		}
	}
	return to, nil
}

// Links are those of the calling thread's network namespace.
type Links struct{}

// Index is that of a link, 0 if there is none.
func (Links) Index(name string) (int, error) {
	return attribute(netlink.LinkByName, name, func(a *netlink.LinkAttrs) int { return a.Index })
}

// Name is that of a link, "" if there is none.
func (Links) Name(index int) (string, error) {
	return attribute(netlink.LinkByIndex, index, func(a *netlink.LinkAttrs) string { return a.Name })
}

func attribute[K, V any](find func(K) (netlink.Link, error), key K, of func(*netlink.LinkAttrs) V) (v V, err error) {
	l, err := find(key)
	var none netlink.LinkNotFoundError
	switch {
	case errors.As(err, &none):
		return v, nil
	case err != nil:
		return v, fmt.Errorf("could not find link %v: %w", key, err)
	}
	return of(l.Attrs()), nil
}

// All are all links, and the names of those that pods and containers are on: bridges.
func (Links) All() (all []walk.Link, bridges []string, err error) {
	links, err := Complete(netlink.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("could not read the links of the node: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if all = append(all, walk.Link{Name: a.Name, Index: a.Index, Group: int(a.Group)}); l.Type() == "bridge" {
			bridges = append(bridges, a.Name)
		}
	}
	return all, bridges, nil
}
