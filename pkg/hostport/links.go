// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/portguard/portguard/pkg/addrset"
)

// Links of infrastructure carry addresses of Services or of a cache, which are local to the
// kernel and not the node's own: kube-proxy's in ipvs mode (kubernetes
// pkg/proxy/ipvs/proxier.go), kube-router's (pkg/controllers/proxy), PureLB's
// (internal/local), and that of NodeLocal DNSCache (kubernetes/dns, cmd/node-cache).
const (
	IPVSLink      = "kube-ipvs0"
	routerLink    = "kube-dummy-if"
	pureLBLink    = "kube-lb0"
	NodeLocalLink = "nodelocaldns"
)

// Infrastructure are the links that are known by their names.
func Infrastructure() []string { return []string{IPVSLink, routerLink, pureLBLink, NodeLocalLink} }

// Carries says who has the addresses of a link of infrastructure, and what they are.
func Carries(link string) (who, what string) {
	switch {
	case link == NodeLocalLink:
		who = "a cache"
	case slices.Contains(Infrastructure(), link):
		who = "a Service"
	default:
		return "somebody", "on " + link + ", which excludeInterfaces names"
	}
	return who, "the address of " + who + " (on " + link + ")"
}

// OnOneLink is what to do about NotAt.
const OnOneLink = "leave it on one of the two links"

// NotAt says that hostPorts of all addresses are not at one that is on a link of infrastructure, and
// on another one.
func (l Local) NotAt() string {
	return fmt.Sprintf("hostPorts are not mapped at %s: link %s, which carries addresses of others, has it, too", l.Prefix.Addr(), l.Infrastructure)
}

// Links names links: each is a name, or the beginning of names and a "*".
type Links []string

// Has reports whether link is one of them. The loopback link is none: it has 127.0.0.1.
func (l Links) Has(link string) bool {
	return link != "lo" && slices.ContainsFunc(l, func(name string) bool {
		start, many := strings.CutSuffix(name, "*")
		return name == link || many && strings.HasPrefix(link, start)
	})
}

// Exact are the names among them, and false if others are meant too.
func (l Links) Exact() (names []string, all bool) {
	all = true
	for _, name := range l {
		if strings.HasSuffix(name, "*") {
			all = false
		} else {
			names = append(names, name)
		}
	}
	return names, all
}

// maxLink is IFNAMSIZ-1, the most bytes that the name of a link has.
const maxLink = 15

// CheckLinks says what is wrong with an entry of Links, nil if nothing is. The names that a
// link may have are those of dev_valid_name (net/core/dev.c).
func CheckLinks(name string) error {
	start, _ := strings.CutSuffix(name, "*")
	bad := func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || unicode.IsControl(r) }
	switch {
	case name == "":
		return errors.New("\"\" is empty; leave it out")
	case start == "":
		return fmt.Errorf("%q is every link, so nothing would be mapped; name those that carry addresses of others", name)
	case name == "lo":
		return errors.New("\"lo\" has 127.0.0.1; use \"localhost\": false, or excludeCIDRs for other addresses on it")
	case strings.Contains(start, "*"):
		return fmt.Errorf("%q has a * before its end (want a name, or the beginning of names and one *)", name)
	case len(start) > maxLink:
		return fmt.Errorf("%q is longer than a name of a link can be (%d bytes)", name, maxLink)
	case name == ".", name == "..", strings.ContainsFunc(start, bad):
		return fmt.Errorf("%q is no name of a link", name)
	}
	return nil
}

// Reach are the destinations of a family at which hostPorts may be: all, or on a node that answers for
// others, too, those that are known to be its own. There an address that comes later may be another's.
func Reach(local []Local, f Family, others bool) addrset.Set {
	if !others {
		return addrset.All(f == IPv4)
	}
	return Own(local, f)
}

// Everywhere are all destinations, as on a node without links of infrastructure.
func Everywhere() map[Family]addrset.Set {
	return map[Family]addrset.Set{IPv4: addrset.All(true), IPv6: addrset.All(false)}
}

// Own are the addresses of a family that are the node's own. Link-local ones of IPv6, which
// come and go with the links of pods and are never mapped, are left out.
func Own(local []Local, f Family) addrset.Set {
	var own, others []addrset.Set
	for _, l := range local {
		switch {
		case FamilyOf(l.Prefix.Addr()) != f, f == IPv6 && l.Prefix.Addr().IsLinkLocalUnicast():
		case l.Infrastructure != "":
			others = append(others, addrset.Of(l.Prefix))
		default:
			own = append(own, addrset.Of(l.Prefix))
		}
	}
	return addrset.Union(own...).Minus(addrset.Union(others...))
}
