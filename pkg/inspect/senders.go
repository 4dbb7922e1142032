// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/way"
)

// A knownPod is one that has a record, as a sender.
type knownPod struct {
	way.Source
	key hostport.Key
	net netip.Prefix
}

// apart reports whether pods send packets of one family by two links.
func (p *knownPod) apart(o *knownPod) bool { return p.Link != o.Link && p.Addr.Is4() == o.Addr.Is4() }

// beside reports whether pods send packets of one family by one link.
func (p *knownPod) beside(o *knownPod) bool {
	return p.Link == o.Link && p.Addr.Is4() == o.Addr.Is4()
}

// sendersOf finds those who send packets to the node.
func (i *Inspector) sendersOf(s *plugin.Session) (*survey, error) {
	sv := &survey{node: i.Node}
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
			if link.Index == 0 {
				continue
			}
			p := &knownPod{way.Source{Side: way.Pod, Link: link, Addr: pod.Addr()}, a.Owner.Key(), pod}
			if !slices.ContainsFunc(sv.known, p.beside) {
				links, sv.pods = append(links, link.Name), append(sv.pods, p.Source)
			}
			sv.known = append(sv.known, p)
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

// senders are those who stand for the pods of a link where one of them has what they send to an
// address: that pod itself and another one.
func (sv *survey) senders(src way.Source, taker conflict.Finding, to netip.Addr) ([]way.Source, error) {
	n := slices.IndexFunc(sv.known, func(p *knownPod) bool {
		return p.Link == src.Link && p.key == taker.Key && p.Addr == taker.Target.Addr()
	})
	if src.Side != way.Pod || n < 0 || src.Addr.Is4() != sv.known[n].Addr.Is4() {
		return []way.Source{src}, nil
	}
	pod := sv.known[n]
	itself := pod.Source
	itself.Itself = true
	other, err := sv.another(pod)
	if err != nil {
		return nil, err
	}
	both := []way.Source{other, itself}
	if other.Addr.IsValid() || sv.straight(taker, itself, to) && !slices.ContainsFunc(sv.known, pod.apart) {
		return both, nil
	}
	return both[1:], nil // others come by links of their own
}

// another is another pod on the link of one: one that is known, or one that may come, the last
// address of the network. It has no address if the link leads to that pod alone.
func (sv *survey) another(pod *knownPod) (way.Source, error) {
	taken := map[netip.Addr]bool{}
	for _, a := range sv.own {
		taken[a] = true
	}
	for _, p := range sv.known {
		taken[p.Addr] = taken[p.Addr] || p.key == pod.key
	}
	for _, p := range sv.known {
		if p.beside(pod) && p.key != pod.key && !taken[p.Addr] {
			return p.Source, nil
		}
	}
	other := pod.Source
	for other.Addr = addrset.Of(pod.net)[0].Hi.Prev(); taken[other.Addr]; {
		other.Addr = other.Addr.Prev()
	}
	if pod.net.Contains(other.Addr) {
		if link, err := sv.node.LinkTo(other.Addr); err != nil || link == pod.Link {
			return other, err
		}
	}
	return way.Source{Side: way.Pod}, nil
}

// straight reports whether answers of a pod to its neighbours go past the node: of what they ask
// at addresses in networks that the node had at its ADD all is masqueraded, with "snat", as long as
// the rules for it are there. Where rules see what bridges forward that is translated back, but for
// what is to itself.
func (sv *survey) straight(taker conflict.Finding, from way.Source, to netip.Addr) bool {
	rec := sv.record(taker.Key)
	if rec == nil || !from.Addr.IsValid() || sv.filtered && !from.Itself {
		return false
	}
	a := rec.Attachment
	masked := a.MasqAll || a.SNAT && slices.ContainsFunc(a.Networks, func(p netip.Prefix) bool { return p.Contains(to) })
	return !masked || taker.Cut&hostport.Unmasked != 0
}
