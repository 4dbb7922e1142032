// SPDX-License-Identifier: Apache-2.0

package ruleset

import "github.com/portguard/portguard/pkg/hostport"

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
