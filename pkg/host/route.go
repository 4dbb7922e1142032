// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"

	"github.com/containernetworking/plugins/pkg/utils/sysctl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/way"
)

// A Router asks the kernel for routes as packets find them: with the rules for routing, the
// rp_filter and the forwarding of the link by which they come in. It asks once for each.
type Router struct {
	links map[int]string
	by    map[string]int
	legs  map[way.Route]way.Leg
	// ported is whether rules ask for ports, once it was asked for.
	ported *bool
}

// NewRouter returns one that knows nothing yet.
func NewRouter() *Router {
	return &Router{links: map[int]string{}, by: map[string]int{}, legs: map[way.Route]way.Leg{}}
}

// Route implements way.Router.
func (r *Router) Route(q way.Route) (way.Leg, error) {
	q, err := r.as(q)
	leg, known := r.legs[q]
	if known {
		return leg, nil
	}
	if err == nil {
		leg, err = r.route(q)
	}
	if err != nil {
		return leg, fmt.Errorf("could not ask for the route from %s to %s: %w", q.Src, q.Dst, err)
	}
	r.legs[q] = leg
	return leg, nil
}

func (r *Router) route(q way.Route) (leg way.Leg, err error) {
	in := 0
	if q.In != "" {
		if in, err = r.index(q.In); err != nil || in == 0 {
			return way.Leg{Fault: way.NoRoute}, err // the link is gone
		}
	}
	leg.Out.Index, leg.Gateway, err = askRoute(q, in)
	if err != nil {
		leg.Fault, err = r.fault(q, err)
		return leg, err
	}
	if leg.Out.Name, err = r.name(leg.Out.Index); err != nil {
		return leg, err
	}
	if off, err := r.off(q); err != nil || off {
		leg.Fault = way.Unforwarded
	}
	return leg, err
}

// off reports whether IPv6 does not forward the packet: it is not a matter of its routes
// (net/ipv6/ip6_output.c, ip6_forward).
func (r *Router) off(q way.Route) (bool, error) {
	if q.Dst.Is4() || q.In == "" {
		return false, nil
	}
	on, err := Forwarding(hostport.IPv6)
	if err != nil || on {
		return false, err
	}
	forced, err := sysctl.Sysctl("net/ipv6/conf/" + q.In + "/force_forwarding") // Linux 6.17
	return err != nil || forced == "0", nil
}

// fault tells what an error means. The kernel has one for several (net/ipv4/route.c,
// ip_route_input_slow).
func (r *Router) fault(q way.Route, err error) (way.Fault, error) {
	is := func(e ...error) bool {
		for _, e := range e {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	switch {
	case is(unix.EHOSTUNREACH) && q.Dst.Is4() && q.In != "":
		if on, err := Forwarding(hostport.IPv4); err != nil || !on {
			return way.Unforwarded, err
		}
		v, err := sysctl.Sysctl("net/ipv4/conf/" + q.In + "/forwarding")
		if err == nil && v == "0" {
			return way.LinkUnforwarded, nil
		}
		return way.NoRoute, err
	case is(unix.EXDEV, unix.EINVAL) && q.Dst.Is4() && q.In != "": // EXDEV before Linux 6.15
		return r.reverse(q)
	case routeless(err), is(unix.EXDEV):
		return way.NoRoute, nil
	}
	return way.None, err
}

// reverse tells what the error of rp_filter means, which is that of a blackhole, too. It asks for the
// answers, as rp_filter does (__fib_validate_source): their route is by another link then, or there
// is none.
func (r *Router) reverse(q way.Route) (way.Fault, error) {
	back := way.Route{Src: q.Dst, Dst: q.Src, Proto: q.Proto, Sport: q.Dport, Dport: q.Sport}
	switch {
	case !filters(q.In), barred(q):
		return way.NoRoute, nil
	case barred(back):
		return way.NoWayBack, nil
	}
	in, err := r.index(q.In)
	if err != nil {
		return way.NoRoute, err
	}
	there, _, err := askRoute(way.Route{Dst: q.Dst, Mark: q.Mark}, 0)
	if err == nil && there == loopbackIndex {
		there = 0 // it is the node that answers
	}
	out, _, err := askRoute(back, there)
	switch _, _, alone := askRoute(way.Route{Src: q.Src, Dst: q.Src}, in); {
	case err == nil && out != in:
		return way.ReversePath, nil
	case err == nil, routeless(alone): // a rule for where they come from
		return way.NoRoute, nil
	}
	return way.NoWayBack, nil
}

// filters reports whether rp_filter of a link in the calling thread's network namespace is on.
func filters(link string) bool {
	for _, name := range []string{"all", link} {
		if v, err := sysctl.Sysctl("net/ipv4/conf/" + name + "/rp_filter"); err == nil && v != "0" {
			return true
		}
	}
	return false
}

// routeless reports whether an error means that there is no route, or one of a type that says
// so: unreachable, prohibit (EACCES) or blackhole (EINVAL; fib_props of net/ipv4/fib_semantics.c).
func routeless(err error) bool {
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL)
}

func (r *Router) index(name string) (int, error) {
	if i, ok := r.by[name]; ok {
		return i, nil
	}
	i, err := Links{}.Index(name)
	r.by[name] = i
	return i, err
}

func (r *Router) name(index int) (string, error) {
	if name, ok := r.links[index]; ok {
		return name, nil
	}
	name, err := Links{}.Name(index)
	r.links[index] = name
	return name, err
}
