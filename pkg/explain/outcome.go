// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// outcomes says for each address who gets its packets, those with the same answer
// together.
func outcomes(r conflict.Report, hook walk.Hook, to []netip.Addr) []Outcome {
	out := []Outcome{}
	found := sorted(all(r), hook)
	for _, a := range to {
		o := outcome(found, hook, a)
		i := slices.IndexFunc(out, func(x Outcome) bool {
			return x.Kind == o.Kind && x.Gets == o.Gets && slices.Equal(x.Unless, o.Unless)
		})
		if i < 0 {
			out = append(out, o)
			i = len(out) - 1
		}
		out[i].Addresses = append(out[i].Addresses, a.String())
	}
	return out
}

// outcome follows a packet through the findings: the first that takes all of it
// has it.
func outcome(found []conflict.Finding, hook walk.Hook, to netip.Addr) Outcome {
	o := Outcome{Kind: "nobody", Gets: "nobody (the port is closed)"}
	var ended *conflict.Finding
	for i, f := range found {
		at := slices.IndexFunc(f.At, func(p conflict.Point) bool { return p.Hook == hook })
		if at < 0 || f.Mapping.Family != hostport.FamilyOf(to) || !f.Dst.Contains(to) {
			continue
		}
		switch {
		case f.Kind == finding.Hidden:
			ended = &found[i]
			continue
		case ended != nil && f.Kind == finding.Claimed && slices.Contains(ended.At, f.At[at]):
			continue // an ACCEPT ends the walk of its own table
		case f.Part, f.Kind == finding.Undecodable, f.Kind == finding.CatchAll:
			o.Unless = append(o.Unless, claimant(f))
			continue
		}
		o.Kind, o.Gets = f.Kind.String(), claimant(f)
		switch {
		case f.Life == hostport.Dead:
			o.Gets = "nobody (the rules of " + f.Who + ", which is gone, lead nowhere)"
		case f.At[at].Stage == conflict.Rejection:
			o.Gets = "nobody (kube-proxy rejects it for " + f.Who + ")"
		}
		return o
	}
	return o
}

// claimant names a claimant, and the rule of one that is not clear.
func claimant(f conflict.Finding) string {
	switch f.Kind {
	case finding.Claimed:
		return f.Who + " (hostPort)"
	case finding.Undecodable, finding.CatchAll:
		return fmt.Sprintf("%s (%s)", f.Who, f.Where)
	default:
		return f.Who
	}
}

// Sentence says in words who gets the packets of one side.
func Sentence(side string, outs []Outcome) string {
	if len(outs) == 0 {
		return side + " has no way to this address."
	}
	var parts []string
	for _, o := range outs {
		s := "to " + o.Gets
		if len(outs) > 1 {
			s += " if it is for " + list(o.Addresses)
		}
		for i, u := range o.Unless {
			s += map[bool]string{true: ", unless it is taken by ", false: " or by "}[i == 0] + u
		}
		parts = append(parts, s)
	}
	last := len(parts) - 1
	if last == 0 {
		return side + " goes " + parts[0] + "."
	}
	return side + " goes " + strings.Join(parts[:last], ", ") + ", and " + parts[last] + "."
}

// list joins a few words with "or", and counts the rest.
func list(words []string) string {
	const few = 4
	if len(words) > few+1 {
		return fmt.Sprintf("%s or %d others", strings.Join(words[:few], ", "), len(words)-few)
	}
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
