// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// maxTries is how often an interrupted dump is repeated before it is an error.
const maxTries = 5

// complete repeats a dump that was interrupted by a change. What stays
// incomplete must not be used: an address that is missing would not be checked.
func complete[T any](dump func() (T, error)) (out T, err error) {
	for range maxTries {
		if out, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

// Addrs lists the node's addresses of both families with their links.
func Addrs() ([]hostport.LocalAddr, error) {
	list, err := complete(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("could not read the addresses of the node: %w", err)
	}
	names := map[int]string{}
	var out []hostport.LocalAddr
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		if _, known := names[a.LinkIndex]; !known {
			// A link that went away since keeps no address.
			ifc, err := net.InterfaceByIndex(a.LinkIndex)
			if err != nil {
				continue
			}
			names[a.LinkIndex] = ifc.Name
		}
		out = append(out, hostport.LocalAddr{Addr: ip.Unmap(), Link: names[a.LinkIndex]})
	}
	return out, nil
}

// LinkTo returns the link by which the node reaches a pod, "" if the pod is not
// on a link of this node (no route, or through a gateway).
func LinkTo(pod netip.Addr) (string, error) {
	routes, err := netlink.RouteGet(pod.AsSlice())
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("could not look up the route to pod %s: %w", pod, err)
	}
	for _, r := range routes {
		if r.Gw != nil || r.Type != unix.RTN_UNICAST {
			continue
		}
		ifc, err := net.InterfaceByIndex(r.LinkIndex)
		if err != nil {
			return "", fmt.Errorf("could not name the link to pod %s: %w", pod, err)
		}
		if ifc.Flags&net.FlagLoopback == 0 {
			return ifc.Name, nil
		}
	}
	return "", nil
}
