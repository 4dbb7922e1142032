// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/way"
)

// forwarding is asked for where no mapping is that packets could be followed to.
func forwarding(f Facts, add adder) {
	for _, fam := range f.NoForwarding {
		used := slices.ContainsFunc(f.List.HostPorts, func(e inventory.Entry) bool { return familyOf(e) == fam })
		told := slices.ContainsFunc(f.List.HostPorts, func(e inventory.Entry) bool { return familyOf(e) == fam && way.Shut(e.Ways) != nil })
		if told || !used && fam == hostport.IPv6 {
			continue // a node without IPv6 pods need not forward it
		}
		sysctl := map[hostport.Family]string{hostport.IPv4: "net.ipv4.ip_forward", hostport.IPv6: "net.ipv6.conf.all.forwarding"}[fam]
		add(way.CheckForward, Problem, fmt.Sprintf("%s is 0: nothing gets from outside to a pod over %s", sysctl, fam), "sysctl -w "+sysctl+"=1")
	}
}

// A lost is what closes ways, and of whom.
type lost struct {
	way.Closure
	own      bool     // packets of the node itself
	by       []string // links
	severity Severity
	of       []inventory.Entry
}

// ways says what closes the ways of packets, once for all mappings.
func ways(f Facts, add adder) {
	var all []*lost
	for _, e := range f.List.HostPorts {
		if e.State != inventory.OK && e.State != inventory.Closed {
			continue
		}
		for _, w := range e.Ways {
			switch {
			case w.Closed != nil:
				all = note(all, e, w)
			case w.Detour != "":
				add(way.CheckAnswer, Warning, detour(e, w), w.Straighten())
			}
		}
	}
	for _, l := range all {
		from := "by " + words(l.by)
		if l.own {
			from = "of the node itself"
		}
		msg := fmt.Sprintf("%s: packets %s are lost: %s", whose(l.of), from, l.Closure)
		if l.severity == Info {
			add(l.Check, l.severity, msg, "")
			continue
		}
		add(l.Check, l.severity, msg, l.Remedy)
	}
}

// note adds a way that is closed. It is a problem if nothing comes to the mapping by the
// link: a firewall may well let in neighbours only.
func note(all []*lost, e inventory.Entry, w way.Way) []*lost {
	severity, open, main := Problem, false, false
	for _, o := range e.Ways {
		if o.Source.Link == w.Source.Link && o.To == w.To {
			open, main = open || o.Closed == nil, main || o.Source.Beyond
		}
	}
	switch {
	case open && w.Closed.Check == way.CheckFilter:
		severity = Info
	case open || e.State == inventory.OK && !main:
		severity = Warning
	}
	own := w.Source.Side == way.Self
	i := slices.IndexFunc(all, func(l *lost) bool { return l.Closure == *w.Closed && l.severity == severity && l.own == own })
	if i < 0 {
		all = append(all, &lost{Closure: *w.Closed, severity: severity, own: own})
		i = len(all) - 1
	}
	l := all[i]
	if by := w.Source.Link.Name; !slices.Contains(l.by, by) {
		l.by = append(l.by, by)
	}
	if !slices.ContainsFunc(l.of, func(o inventory.Entry) bool { return name(o) == name(e) }) {
		l.of = append(l.of, e)
	}
	return all
}

// whose names mappings: the first, and how many others.
func whose(of []inventory.Entry) string {
	out := name(of[0])
	if n := len(of) - 1; n > 0 {
		out += fmt.Sprintf(" and %d more", n)
	}
	return out
}

func detour(e inventory.Entry, w way.Way) string {
	return fmt.Sprintf("%s: packets to %s come by %s, and answers leave by %s: routes are chosen by the source, which is the pod then", name(e), w.To, w.Source.Link.Name, w.Detour)
}
