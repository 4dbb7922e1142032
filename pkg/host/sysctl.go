// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containernetworking/plugins/pkg/utils/sysctl"

	"github.com/portguard/portguard/pkg/hostport"
)

// sysctlDir is where the IPv4 settings of links are.
const sysctlDir = "/proc/sys/net/ipv4/conf"

// Sysctls are those of links in the calling thread's network namespace. The error of a
// link that is gone is fs.ErrNotExist.
type Sysctls struct{}

// routeLocalnet names the sysctl with slashes, because a link may be called eth0.100.
func routeLocalnet(link string) string { return "net/ipv4/conf/" + link + "/route_localnet" }

// RouteLocalnet reports whether link forwards packets of 127.0.0.0/8: it is set for the
// link or for all.
func (Sysctls) RouteLocalnet(link string) (bool, error) {
	v, err := sysctl.Sysctl(routeLocalnet(link))
	all := "0"
	if err == nil {
		all, err = sysctl.Sysctl(routeLocalnet("all"))
	}
	if err != nil {
		return false, fmt.Errorf("could not read route_localnet of %s: %w", link, err)
	}
	return v != "0" || all != "0", nil
}

// SetRouteLocalnet switches it. An error means that it is not switched. sysctl.Sysctl would read what it
// has written, and that may fail.
func (Sysctls) SetRouteLocalnet(link string, on bool) error {
	v := "0"
	if on {
		v = "1"
	}
	if err := os.WriteFile("/proc/sys/"+routeLocalnet(link), []byte(v), 0); err != nil {
		return fmt.Errorf("could not set route_localnet of %s to %s: %w", link, v, err)
	}
	return nil
}

// MaySet reports why SetRouteLocalnet would fail.
func (Sysctls) MaySet(link string) error {
	f, err := os.OpenFile(filepath.Join("/proc/sys", routeLocalnet(link)), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("could not set route_localnet of %s: %w", link, err)
	}
	return f.Close()
}

// EphemeralPorts returns ip_local_port_range.
func EphemeralPorts() (from, to uint16, err error) {
	v, err := sysctl.Sysctl("net/ipv4/ip_local_port_range")
	if err == nil {
		lo, hi, _ := strings.Cut(v, "\t")
		from, to, err = portRange(lo, hi)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("could not read ip_local_port_range: %w", err)
	}
	return from, to, nil
}

// portRange reads the ends of a range.
func portRange(from, to string) (lo, hi uint16, err error) {
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	b, err := strconv.ParseUint(to, 10, 16)
	return uint16(a), uint16(b), err
}

// ReservedPorts returns the ranges of ip_local_reserved_ports.
func ReservedPorts() (out [][2]uint16, err error) {
	v, err := sysctl.Sysctl("net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return nil, fmt.Errorf("could not read ip_local_reserved_ports: %w", err)
	}
	for r := range strings.SplitSeq(v, ",") {
		from, to, ranged := strings.Cut(r, "-")
		if !ranged {
			to = from
		}
		if lo, hi, err := portRange(from, to); err == nil {
			out = append(out, [2]uint16{lo, hi})
		}
	}
	return out, nil
}

// Forwarding reports whether the node forwards packets of family f.
func Forwarding(f hostport.Family) (bool, error) {
	name := "net/ipv4/ip_forward"
	if f == hostport.IPv6 {
		name = "net/ipv6/conf/all/forwarding"
	}
	v, err := sysctl.Sysctl(name)
	if err != nil {
		return false, fmt.Errorf("could not read whether %s is forwarded: %w", f, err)
	}
	return v != "0", nil
}

// Forwards reports whether the node forwards packets of family f that come in by any link. Those
// of IPv4 are asked one by one (IN_DEV_FORWARD), those of IPv6 may have an exception (Linux 6.17).
func Forwards(f hostport.Family) (bool, error) {
	if on, err := Forwarding(f); on || err != nil {
		return on, err
	}
	dir, name := sysctlDir, "forwarding"
	if f == hostport.IPv6 {
		dir, name = "/proc/sys/net/ipv6/conf", "force_forwarding"
	}
	return anyLink(dir, name)
}

// anyLink reports whether a setting is on for a link that is there.
func anyLink(dir, name string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("could not read which links forward: %w", err)
	}
	for _, e := range entries {
		v, err := os.ReadFile(filepath.Join(dir, e.Name(), name))
		if err == nil && strings.TrimSpace(string(v)) != "0" && e.Name() != "all" && e.Name() != "default" {
			return true, nil
		}
	}
	return false, nil
}

// HasIPv6 reports whether the kernel has IPv6 in this network namespace.
func HasIPv6() bool {
	_, err := os.Stat("/proc/thread-self/net/if_inet6")
	return err == nil
}

// BridgesFilter reports whether rules see what bridges forward. Without br_netfilter there are
// no such settings.
func BridgesFilter() bool { return bridgesFilter(true) || bridgesFilter(false) }

func bridgesFilter(is4 bool) bool {
	v, err := sysctl.Sysctl("net/bridge/bridge-nf-call-" + map[bool]string{true: "iptables", false: "ip6tables"}[is4])
	return err == nil && v == "1"
}
