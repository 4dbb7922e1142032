// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/way"
)

// A survey follows packets to the ports that somebody asks about.
type survey struct {
	model way.Model
	// outside and pods are those who send packets: of the pods of a link one of each family.
	outside, pods []way.Source
	// known are all pods.
	known []*knownPod
	node  Node
	// links are all that there are.
	links []walk.Link
	// own are the addresses of the node that others can send to, loopback those that only the
	// node itself can.
	own, loopback []netip.Addr
	// from narrows the packets of each side; finders are those of one reading, by where the
	// mapping is or would be.
	from    map[way.Side]conflict.From
	finders map[asked]*conflict.Finder
	snap    conflict.Snapshot
	// record is that of an attachment, nil if there is none.
	record func(hostport.Key) *state.Record
	// filtered is set if rules see what bridges forward (br_netfilter), so that it is translated.
	filtered bool
}

// asked is what one finder answers: for packets of a side, by one link or, "", by any.
type asked struct {
	side  way.Side
	place conflict.Place
	link  string
}

// maxLinks is how many links of a side are asked for one by one.
const maxLinks = 8

// survey calls f with the node as it is now, for mappings that somebody asks about; with ears it
// asks who waits for their packets in the pods.
func (i *Inspector) survey(s *plugin.Session, ms []hostport.Mapping, ears bool, f func(*survey) error) error {
	sv, err := i.sendersOf(s)
	if err != nil {
		return err
	}
	sv.record, sv.filtered = s.Record, i.Node.BridgesFilter()
	sv.own, sv.loopback = i.reachable(s.On.Local)
	pods := i.Node.Pods(s.Home, ears)
	defer pods.Close()
	return i.Node.Onward(s.Wait, s.On, func(whole conflict.Snapshot) error {
		whole.Owns = s.Owns
		sv.model = way.Model{Finder: conflict.NewFinder(whole), Router: i.Node.Router(), Senders: sv.senders, Straight: sv.straight, Pods: pods}
		return s.Look(ms, conflict.Place{}, func(snap conflict.Snapshot) error {
			sv.snap, sv.finders = snap, map[asked]*conflict.Finder{}
			return f(sv)
		})
	})
}

// ways are those of the packets of one side to some addresses, for what a asks for. Who has
// them may depend on the link by which they come.
func (sv *survey) ways(side way.Side, a hostport.Attachment, place conflict.Place, to []netip.Addr) ([]way.Way, error) {
	if len(a.Mappings) == 0 {
		return nil, nil
	}
	m := a.Mappings[0]
	q := way.Query{Proto: m.Proto, To: netip.AddrPortFrom(netip.Addr{}, m.HostPort)}
	var out []way.Way
	for _, f := range hostport.Families() {
		of := slices.DeleteFunc(slices.Clone(to), func(x netip.Addr) bool { return hostport.FamilyOf(x) != f })
		found, err := sv.claims(side, a, place, sv.sources(side, f))
		if err != nil {
			return nil, err
		}
		ways, err := sv.model.Ways(q, of, sv.sources(side, f), found)
		if err != nil {
			return nil, err
		}
		out = append(out, ways...)
	}
	for i, w := range out {
		if w.Source.Side != way.Outside || w.Taker == nil {
			continue
		}
		if rec := sv.record(w.Taker.Key); rec != nil && rec.Attachment.MasqAll { // which is before all others
			out[i].Masked = fmt.Sprintf("masqAll of network %s", rec.Attachment.Owner.Network)
		}
	}
	return out, nil
}

// claims says who has a claim on packets of each of some sources.
func (sv *survey) claims(side way.Side, a hostport.Attachment, place conflict.Place, from []way.Source) (way.Claims, error) {
	found := way.Claims{}
	for _, src := range from {
		if _, known := found[src.Link]; known {
			continue
		}
		key, by := asked{side, place, ""}, sv.from[side]
		if src.Link.Name != "" && len(from) <= maxLinks {
			key.link, by.Links = src.Link.Name, []walk.Link{src.Link}
		}
		if sv.finders[key] == nil {
			snap := sv.snap
			snap.From, snap.Place = by, place
			sv.finders[key] = conflict.NewFinder(snap)
		}
		r, err := sv.finders[key].Find(a)
		if err != nil {
			return nil, err
		}
		found[src.Link] = r.All()
	}
	return found, nil
}

// sources are those of a side for a family: one of which nothing is known, if none is found.
func (sv *survey) sources(side way.Side, f hostport.Family) []way.Source {
	all := map[way.Side][]way.Source{way.Outside: sv.outside, way.Pod: sv.pods}[side]
	var out []way.Source
	for _, s := range all { // slices.DeleteFunc is 1 KB of the program for each type
		if hostport.FamilyOf(s.Addr) == f {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return []way.Source{{Side: side}}
	}
	return out
}

// all are the ways of each side to what somebody asks about.
func (sv *survey) all(a hostport.Attachment, place conflict.Place, own, loopback []netip.Addr) (w explain.Ways, err error) {
	local := a
	local.Mappings = onLoopback(a.Mappings)
	for _, side := range []struct {
		side way.Side
		a    hostport.Attachment
		to   []netip.Addr
		into *[]way.Way
	}{{way.Outside, a, own, &w.Outside}, {way.Self, local, loopback, &w.Localhost}, {way.Pod, a, own, &w.Pod}} {
		if *side.into, err = sv.ways(side.side, side.a, place, side.to); err != nil {
			return w, err
		}
	}
	return w, nil
}

// onLoopback asks for 127.0.0.1 and ::1, which a wildcard mapping may leave alone.
func onLoopback(ms []hostport.Mapping) []hostport.Mapping {
	out := slices.Clone(ms)
	for i, m := range out {
		if m.Wildcard() {
			out[i].HostIP = m.Family.Loopback()
		}
	}
	return out
}

// without is every source but those addresses and the node's own.
func without(on *host.Addressing, pods addrset.Set) addrset.Set {
	here := pods
	for _, l := range on.Local {
		here = here.Or(addrset.Of(l.Prefix))
	}
	return here.Only(true).Not(true).Or(here.Only(false).Not(false))
}

// reachable are the addresses of the node that others can send to, and its loopback
// ones. Of a local network only the first address is looked at.
func (i *Inspector) reachable(local []hostport.Local) (own, loopback []netip.Addr) {
	for _, f := range i.Node.Families() {
		loopback = append(loopback, f.Loopback())
	}
	for _, l := range local {
		a := l.Prefix.Addr()
		if l.Infrastructure == "" && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !slices.Contains(own, a) {
			own = append(own, a)
		}
	}
	return own, loopback
}
