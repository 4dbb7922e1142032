// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
)

// serviceRules leave the Services of kube-proxy's ipvs mode alone. There every
// ClusterIP is a local address and a NodePort rule only sets a mark, so the
// order of the jumps protects neither.
func serviceRules(sets []Set) []*rule {
	var out []*rule
	for _, s := range sets {
		var args []string
		if s.Proto != 0 {
			args = append(args, "-p", s.Proto.String())
		}
		args = append(args, "-m", "set", "--match-set", s.Name, s.Dims, "-m", "comment", "--comment", sharedComment, "-j", "RETURN")
		out = append(out, newRule(args...))
	}
	return out
}

// A Set is one of kube-proxy's ipsets: its name, the protocol it is for (0 for
// any) and the dimensions to match ("dst" or "dst,dst").
type Set struct {
	Name  string
	Proto hostport.Proto
	Dims  string
}

// Addresses reports whether s holds the addresses of Services (KUBE-IPVS-IPS),
// not ports.
func (s Set) Addresses() bool { return s.Proto == 0 }

// ServiceSets are the ipsets of kube-proxy's ipvs mode whose members no
// hostPort may take (kubernetes pkg/proxy/ipvs/ipset.go). IPv6 names are cut at
// 31 characters.
func ServiceSets(f hostport.Family) []Set {
	sets := []Set{
		{"IPVS-IPS", 0, "dst"},
		{"NODE-PORT-TCP", hostport.TCP, "dst"},
		{"NODE-PORT-UDP", hostport.UDP, "dst"},
		{"NODE-PORT-SCTP-HASH", hostport.SCTP, "dst,dst"},
	}
	for i := range sets {
		prefix := "KUBE-"
		if f == hostport.IPv6 {
			prefix = "KUBE-6-"
		}
		sets[i].Name = (prefix + sets[i].Name)[:min(31, len(prefix+sets[i].Name))]
	}
	return sets
}

// gapRules leave alone what is not within: the rules of attachments follow no addresses of
// the node.
func gapRules(within addrset.Set, f hostport.Family) []*rule {
	var out []*rule
	for _, span := range within.Not(f == hostport.IPv4) {
		out = append(out, newRule("-m", "iprange", "--dst-range", span.Lo.String()+"-"+span.Hi.String(), "-m", "comment", "--comment", sharedComment, "-j", "RETURN"))
	}
	return out
}

// isGap reports whether a rule of the shared chain leaves a range alone.
func isGap(r *rule) bool {
	_, ok := r.decoded().Option("--dst-range")
	return ok && r.target() == "RETURN"
}

// Reach is where the rules let mappings be, and whether they leave the addresses of
// Services alone besides that an ipset holds.
func (l *Layout) Reach() (within addrset.Set, sparesServices bool) {
	services := ServiceSets(l.Family)[0].Name
	var gaps []addrset.Set
	for _, r := range l.chains[hostports] {
		if r.target() != "RETURN" {
			continue
		}
		o, _ := r.decoded().Option("--dst-range")
		from, to, ok := strings.Cut(o.Value(), "-")
		lo, err1 := netip.ParseAddr(from)
		hi, err2 := netip.ParseAddr(to)
		if ok && err1 == nil && err2 == nil {
			gaps = append(gaps, addrset.Between(lo, hi))
		}
		set, _ := r.decoded().Option("--match-set")
		sparesServices = sparesServices || slices.Contains(set.Values, services)
	}
	return addrset.Union(gaps...).Not(l.Family == hostport.IPv4), sparesServices
}
