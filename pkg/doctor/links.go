// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// Addresses are what was seen of those of the node, and of what mappings do with them.
type Addresses struct {
	Local []hostport.Local
	// Shared are those on a link of infrastructure that another link has, too.
	Shared []hostport.Local
	// Reach are where backends that have mappings let them be.
	Reach []Reach
	// Virtual are the links that carry nothing but addresses, and are not known to be of
	// infrastructure.
	Virtual []Virtual
}

// A Reach is where a backend lets mappings of a family be.
type Reach struct {
	Backend string
	Family  hostport.Family
	Within  addrset.Set
	// SparesServices is set if it leaves those of kube-proxy's ipvs mode alone besides.
	SparesServices bool
}

// A Virtual is a link without a wire, and its addresses that are in no network.
type Virtual struct {
	Link    string
	Singles []netip.Addr
}

// many is from how many single addresses on a link are more likely Services' than the
// node's own.
const many = 3

// notOwn: every call of portguard looks what is the node's own; what changes afterwards
// waits for the next one.
func notOwn(f Facts, add adder) {
	const remedy = "portguard restore; the next ADD or DEL of a pod with hostPorts does the same"
	var links []string
	for _, l := range f.Addresses.Local {
		moves := l.Infrastructure == hostport.IPVSLink && slices.ContainsFunc(f.Addresses.Reach, func(r Reach) bool { return r.Backend == "nftables" }) // order says it
		if l.Infrastructure != "" && !moves && !slices.Contains(links, l.Infrastructure) {
			links = append(links, l.Infrastructure)
		}
	}
	for _, r := range f.Addresses.Reach {
		for _, link := range links {
			if taken := r.taken(f.Addresses.Local, link); len(taken) > 0 {
				add("not-own", Problem, fmt.Sprintf("mappings in %s take packets to %s, which link %s carries for others", r.Backend, some(taken), link), remedy)
			}
		}
		if late := r.late(f.Addresses.Local); len(late) > 0 {
			add("not-own", Warning, fmt.Sprintf("mappings in %s are not at %s yet: on a node with addresses of Services, those that come after a call of portguard wait for the next one", r.Backend, some(late)), remedy)
		}
	}
	for _, l := range f.Addresses.Shared {
		add("not-own", Warning, l.NotAt(), hostport.OnOneLink)
	}
	for _, v := range f.Addresses.Virtual {
		if len(v.Singles) >= many {
			add("virtual-link", Warning, fmt.Sprintf("link %s carries %d single addresses (%s): if they are Services', mappings take their packets", v.Link, len(v.Singles), some(v.Singles)),
				fmt.Sprintf(`name it in "excludeInterfaces": [%q] of portguard's entry, unless they are the node's own`, v.Link))
		}
	}
}

// taken are the addresses of a link that mappings are at.
func (r Reach) taken(local []hostport.Local, link string) (out []netip.Addr) {
	for _, l := range local {
		a := l.Prefix.Addr()
		spared := r.SparesServices && link == hostport.IPVSLink || a.Is6() && a.IsLinkLocalUnicast()
		if l.Infrastructure == link && hostport.FamilyOf(a) == r.Family && !spared && r.Within.Contains(a) {
			out = append(out, a)
		}
	}
	return out
}

// late are the node's own addresses that mappings are not at.
func (r Reach) late(local []hostport.Local) (out []netip.Addr) {
	missing := hostport.Own(local, r.Family).Minus(r.Within)
	for _, l := range local {
		if part := missing.And(addrset.Of(l.Prefix)); len(part) > 0 {
			out, missing = append(out, part[0].Lo), missing.Minus(part)
		}
	}
	return out
}

// some names a few addresses, and counts the rest.
func some(all []netip.Addr) string {
	const few = 3
	var words []string
	for _, a := range all[:min(few, len(all))] {
		words = append(words, a.String())
	}
	if rest := len(all) - few; rest > 0 {
		words = append(words, fmt.Sprintf("%d more", rest))
	}
	return strings.Join(words, ", ")
}
