// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
)

// A Finding is one thing that was found on the node for one mapping.
type Finding struct {
	Kind    finding.Kind
	Mapping hostport.Mapping
	// Message is one line: what, where, who and what to do next. Remedy is the last of these,
	// "" where it is the kind's.
	Message, Remedy string
	// Who is the claimant in a few words: "nginx (pid 12)".
	Who string
	// Where is the claimant's rule with the chains that lead to it, "" if it has
	// none.
	Where string
	// At are the points at which the kernel asks the claimant.
	At []Point
	// Base names whose base chains those are, "" where that does not matter.
	Base string
	// By is the only link by which packets for it come in, "" for any; NotBy are those by
	// which they do not.
	By    string
	NotBy []string
	// Dst are the destinations the finding is about.
	Dst addrset.Set
	// Cut says which packets do not get to a mapping, because some of its rules are gone.
	Cut hostport.Cut
	// Part is set if the claimant takes only some of the packets, or may.
	Part bool
	// Target is where it leads, as far as that is known.
	Target netip.AddrPort
	// Proxy is set for a listener that only keeps the port for a container, whose rule takes
	// the packets.
	Proxy bool
	// Groups is set for a socket that may have packets to broadcast and multicast addresses.
	Groups bool
	// Key is that of the attachment of portguard that has it, "" if it is none's; Life says
	// whether its owner lives.
	Key  hostport.Key
	Life hostport.Life
	// Spared is set if the mapping leaves the claimant its packets.
	Spared bool
	// Conditional is set if only some of the packets are concerned, or the container has
	// them already, so that a refusal would be too much.
	Conditional bool
}

// Level reports whether the kernel asks both at one point, and in base chains of two owners:
// then it asks those first that were registered last, and nobody can tell which these are.
func (f Finding) Level(o Finding) bool {
	return f.Base != "" && o.Base != "" && f.Base != o.Base && slices.ContainsFunc(f.At, func(p Point) bool { return slices.Contains(o.At, p) })
}

// LevelWith is Level for a mapping that is in place.
func (f Finding) LevelWith(c hostport.Claim) bool {
	return f.Level(Finding{Base: c.Backend, At: both(Translation, c.Priority)})
}

// say is what the finding says, and what to do about it.
func (f *Finding) say(remedy, format string, args ...any) {
	f.Message, f.Remedy = fmt.Sprintf(format, args...)+"; "+remedy, hostport.Line(remedy)
}

// A Report is the decision.
type Report struct {
	// Conflicts refuse the request, the most telling one first.
	Conflicts []Finding
	// Warnings do not.
	Warnings []Finding
	// Beside is what has the same port and takes nothing from the request: who
	// listens on an address that the mapping leaves alone, and dead owners.
	Beside []Finding
	// Carves are what the mappings must leave alone.
	Carves []hostport.Carve
	// Flows are what the mappings must leave to connected UDP sockets of the node.
	Flows []hostport.Flow
	// TakeOver are the keys of dead owners whose rules must go.
	TakeOver []string
	// said are the places of findings in their lists, carved are the Carves.
	said   map[saying][]int
	carved map[hostport.Carve]bool
}

// A saying is what findings have in common that may be one.
type saying struct {
	finding.Severity
	finding.Kind
	hostport.Mapping
}

// add puts a finding where the table of findings has it. What takes nothing from the
// request is noted only.
func (r *Report) add(f Finding) {
	severity := f.Kind.Row().Severity
	switch {
	case f.Spared, f.Life == hostport.Dead:
		severity = finding.Note
	case f.Conditional && severity == finding.Refuse:
		severity = finding.Warn
	}
	switch severity {
	case finding.Refuse:
		r.join(&r.Conflicts, severity, f)
	case finding.Warn:
		r.join(&r.Warnings, severity, f)
	case finding.Note:
		r.join(&r.Beside, severity, f)
	}
}

// carve adds an address and port that wildcard mappings must leave alone.
func (r *Report) carve(c hostport.Carve) {
	if r.carved[c] {
		return
	}
	if r.carved == nil {
		r.carved = map[hostport.Carve]bool{}
	}
	r.carved[c] = true
	r.Carves = append(r.Carves, c)
}

// join joins what was said already of the mapping: a rule is found from outside and
// from the node. It makes the message one plain line, because others have chosen the
// names and comments in it.
func (r *Report) join(list *[]Finding, severity finding.Severity, f Finding) {
	f.Message = hostport.Line(f.Message)
	key := saying{severity, f.Kind, f.Mapping}
	i := slices.IndexFunc(r.said[key], func(i int) bool {
		o := (*list)[i]
		return o.Message == f.Message || o.Who == f.Who && sameRule(o.Where, f.Where)
	})
	if i < 0 {
		if r.said == nil {
			r.said = map[saying][]int{}
		}
		r.said[key] = append(r.said[key], len(*list))
		*list = append(*list, f)
		return
	}
	o := &(*list)[r.said[key][i]]
	o.Dst = o.Dst.Or(f.Dst)
	for _, p := range f.At {
		if !slices.Contains(o.At, p) {
			o.At = append(o.At, p)
		}
	}
}

// sameRule reports whether two places are one rule that two base chains lead to:
// "iptables-nft IPv4 nat PREROUTING > DOCKER: ...".
func sameRule(a, b string) bool {
	_, x, ok1 := strings.Cut(a, " > ")
	_, y, ok2 := strings.Cut(b, " > ")
	return ok1 && ok2 && x == y
}

// Awaited are the keys of those that a refusal may be over with when they are stopped: if
// live attachments of portguard are all that is in the way.
func (r Report) Awaited() (keys []hostport.Key) {
	for _, f := range r.Conflicts {
		if f.Key == "" || f.Life != hostport.Alive {
			return nil
		}
		keys = append(keys, f.Key)
	}
	return keys
}

// All are all findings.
func (r Report) All() []Finding { return slices.Concat(r.Conflicts, r.Warnings, r.Beside) }

// Messages are those of findings, each once: one dual-stack listener stands in
// the way of a mapping in both families.
func Messages(found []Finding) []string {
	var out []string
	seen := map[string]bool{}
	for _, f := range found {
		if !seen[f.Message] {
			seen[f.Message] = true
			out = append(out, f.Message)
		}
	}
	return out
}
