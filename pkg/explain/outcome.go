// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/way"
)

// outcomes says for each address who gets its packets, those with the same answer together.
func outcomes(ways []way.Way) []Outcome {
	out := []Outcome{}
	for len(ways) > 0 {
		to := ways[0].To
		n := slices.IndexFunc(ways, func(w way.Way) bool { return w.To != to })
		if n < 0 {
			n = len(ways)
		}
		for _, o := range bySource(ways[:n]) {
			i := slices.IndexFunc(out, func(x Outcome) bool { return x.same(o) && slices.Equal(x.From, o.From) })
			if i < 0 {
				out = append(out, o)
				i = len(out) - 1
			}
			out[i].Addresses = append(out[i].Addresses, to.String())
		}
		ways = ways[n:]
	}
	return out
}

// same reports whether two outcomes say the same of packets.
func (o Outcome) same(x Outcome) bool {
	return o.Kind == x.Kind && o.Gets == x.Gets && o.Closed == x.Closed && o.Detour == x.Detour && o.Masked == x.Masked && o.Unheard == x.Unheard && slices.Equal(o.Unless, x.Unless)
}

// bySource are the outcomes of packets to one address. They tell their sources if there are
// several.
func bySource(ways []way.Way) (out []Outcome) {
	var from [][]way.Source
	for _, w := range ways {
		o := outcome(w)
		i := slices.IndexFunc(out, o.same)
		if i < 0 {
			out, from = append(out, o), append(from, nil)
			i = len(out) - 1
		}
		from[i] = append(from[i], w.Source)
	}
	for i := range out {
		if len(out) > 1 {
			out[i].From = sources(from[i], ways)
		}
	}
	return out
}

// sources names the links of some sources, and which part of those that send by a link it is.
func sources(some []way.Source, ways []way.Way) (out []string) {
	for _, s := range some {
		whole := true
		for _, w := range ways {
			whole = whole && (w.Source.Link != s.Link || slices.Contains(some, w.Source))
		}
		name := cmp.Or(s.Link.Name, "another link")
		switch {
		case whole:
		case s.Itself:
			name += " from the pod itself"
		case s.Side == way.Pod:
			name += " from another pod"
		case s.Beyond:
			name += " from beyond its own network"
		default:
			name += " from its own network"
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// outcome puts a way in words.
func outcome(w way.Way) Outcome {
	o := Outcome{Kind: "nobody", Gets: "nobody (the port is closed)"}
	for _, f := range w.Unless {
		o.Unless = append(o.Unless, claimant(f))
	}
	if w.Taker == nil {
		return o
	}
	o.Kind, o.Gets, o.Detour = w.Taker.Kind.String(), claimant(*w.Taker), w.Detour
	o.Masked, o.Unheard = w.Masked, w.Unheard
	switch {
	case w.Closed != nil:
		o.Closed, o.Remedy = w.Closed.String(), w.Closed.Remedy
		o.Kind, o.Gets = "nobody", fmt.Sprintf("nobody (it is for %s, and %s)", o.Gets, o.Closed)
	case w.Unheard != "":
		o.Remedy = w.Start
	case w.Detour != "":
		o.Remedy = w.Straighten()
	case w.Ended && w.Taker.Life == hostport.Dead:
		o.Gets = "nobody (the rules of " + w.Taker.Who + ", which is gone, lead nowhere)"
	case w.Ended:
		o.Gets = "nobody (kube-proxy rejects it for " + w.Taker.Who + ")"
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
		s, and := "to "+o.Gets, " if it "
		if several := slices.ContainsFunc(outs, func(x Outcome) bool { return !slices.Equal(x.Addresses, o.Addresses) }); several {
			s, and = s+and+"is for "+list(o.Addresses), " and "
		}
		if len(o.From) > 0 {
			s += and + "comes by " + list(o.From)
		}
		for i, u := range o.Unless {
			s += map[bool]string{true: ", unless it is taken by ", false: " or by "}[i == 0] + u
		}
		if o.Detour != "" {
			s += ", whose answers leave by " + o.Detour
		}
		if o.Masked != "" {
			s += ", which sees an address of the node as the client, because of " + o.Masked
		}
		if o.Unheard != "" {
			s += ", and " + o.Unheard
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
