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
	// outside and pods are those who send packets.
	outside, pods []way.Source
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
	sv, err := i.senders(s)
	if err != nil {
		return err
	}
	sv.record, sv.filtered = s.Record, i.Node.BridgesFilter()
	sv.own, sv.loopback = i.reachable(s.On.Local)
	pods := i.Node.Pods(s.Home, ears)
	defer pods.Close()
	return i.Node.Onward(s.Wait, s.On, func(whole conflict.Snapshot) error {
		whole.Owns = s.Owns
		sv.model = way.Model{Finder: conflict.NewFinder(whole), Router: i.Node.Router(), Straight: sv.straight, Pods: pods}
		return s.Look(ms, conflict.Place{}, func(snap conflict.Snapshot) error {
			sv.snap, sv.finders = snap, map[asked]*conflict.Finder{}
			return f(sv)
		})
	})
}

// senders finds those who send packets to the node.
func (i *Inspector) senders(s *plugin.Session) (*survey, error) {
	sv := &survey{}
	var nets addrset.Set
	var links []string
	for _, a := range s.Recorded() {
		for _, pod := range a.Pods {
			nets = nets.Or(addrset.Of(pod))
			link, err := i.Node.LinkTo(pod.Addr())
			if err != nil {
				return nil, err
			}
			if link.Name == "" && a.Link != "" { // there was a route when the pod was added
				link.Name = a.Link
				if link.Index, err = i.Node.LinkIndex(a.Link); err != nil {
					return nil, err
				}
			}
			if link.Index == 0 || slices.ContainsFunc(sv.pods, func(p way.Source) bool { return p.Link == link && p.Addr.Is4() == pod.Addr().Is4() }) {
				continue
			}
			links = append(links, link.Name)
			sv.pods = append(sv.pods, way.Source{Side: way.Pod, Link: link, Addr: pod.Addr()})
		}
	}
	all, bridges, err := i.Node.Links()
	if err != nil {
		return nil, err
	}
	sv.links = all
	if sv.outside, err = i.Node.Entries(s.On, links); err != nil {
		return nil, err
	}
	// Nothing comes from outside by a bridge that leads nowhere.
	aside := func(l walk.Link) bool {
		return slices.Contains(bridges, l.Name) && !slices.ContainsFunc(sv.outside, func(src way.Source) bool { return src.Link.Name == l.Name })
	}
	sv.from = map[way.Side]conflict.From{
		way.Outside: {Hook: walk.Prerouting, Src: without(s.On, nets), Links: slices.DeleteFunc(slices.Clone(sv.links), aside)},
		way.Self:    {Hook: walk.Output},
		way.Pod:     {Hook: walk.Prerouting, Src: nets, Links: sv.links},
	}
	return sv, nil
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

// straight reports whether answers of a pod to its neighbours go past the node: of what they ask
// at addresses in networks that the node had at its ADD all is masqueraded, with "snat", as long as
// the rules for it are there. Where rules see what bridges forward that is translated back, but
// for what is to itself.
func (sv *survey) straight(taker conflict.Finding, from, to netip.Addr) bool {
	rec, itself := sv.record(taker.Key), taker.Target.Addr() == from
	if rec == nil || sv.filtered && !itself {
		return false
	}
	a := rec.Attachment
	masked := a.MasqAll || a.SNAT && slices.ContainsFunc(a.Networks, func(p netip.Prefix) bool { return p.Contains(to) })
	return !masked || taker.Cut&hostport.Unmasked != 0
}

// sources are those of a side for a family: one of which nothing is known, if none is found.
func (sv *survey) sources(side way.Side, f hostport.Family) []way.Source {
	all := map[way.Side][]way.Source{way.Outside: sv.outside, way.Pod: sv.pods}[side]
	out := slices.DeleteFunc(slices.Clone(all), func(s way.Source) bool { return hostport.FamilyOf(s.Addr) != f })
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
