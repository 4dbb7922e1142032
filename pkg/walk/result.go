// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// A Hop is one rule that the packets matched, or may have.
type Hop struct {
	Table nft.Table
	Chain string
	// Handle is the rule's number in nf_tables. Index is its place among the rules that
	// the Source has of the chain.
	Handle  uint64
	Index   int
	Comment string
	// rule is what Text describes.
	rule *nft.Rule
	// Target is the verdict, To where a translation leads, as far as known.
	Target, To string
	Match      Tri
	// NamesPort means that the rule asks for the destination port by number, or
	// through a set, which may hold ports; or that it has an expression that is not known.
	NamesPort bool
	// Specific means that the rule is for single destinations.
	Specific bool
	// Sets are the sets of nf_tables in which the rule looks something up, IPSets the
	// ipsets. One of which the name is not known is "".
	Sets, IPSets []string
	// Unlisted are those among them that are too long to be listed.
	Unlisted []string
}

// Text names the rule's expressions.
func (h Hop) Text() string {
	if h.rule == nil {
		return ""
	}
	return describe(*h.rule)
}

// A Path is the way from the base chain to a verdict. Match is the weakest
// match on it, Dst the destinations that may come this way.
type Path struct {
	Hops  []Hop
	Match Tri
	Dst   addrset.Set
	// Doubtful is set if only packets come this way that may well not exist.
	Doubtful bool
}

// Last returns the hop with the verdict.
func (p Path) Last() Hop { return p.Hops[len(p.Hops)-1] }

// Stops reports whether the verdict keeps packets from all further base chains.
func (p Path) Stops() bool {
	switch strings.ToLower(p.Last().Target) {
	case "drop", "reject", "fwd", Strands:
		return true
	}
	return false
}

// NamesPort reports whether a rule on the path names the port.
func (p Path) NamesPort() bool {
	return slices.ContainsFunc(p.Hops, func(h Hop) bool { return h.NamesPort })
}

// A Result is what may happen to the packets in one base chain.
type Result struct {
	// NAT are the rules that translate some of them, or may. The first NATBefore of them are
	// before Place.
	NAT       []Path
	NATBefore int
	// End are the rules that end the walk for some of them, or may (ACCEPT,
	// DROP). The first Before of them are before Place.
	End    []Path
	Before int
	// Untracked are the rules that take some of them out of conntrack.
	Untracked []Path
	// Next are the packets that go on to the next base chain, if the policy of this one
	// lets them. Changed is set if they may differ from those that came.
	Next    Space
	Changed bool
	// Accepted are those among them that did not come to its end, Stopped others that go nowhere.
	Accepted, Stopped Space
	// CtMark is set if some rule asks for the mark of the connection.
	CtMark bool
	// Reached are the destinations of which some packets may get to Place, Passed
	// those of which some may get to the end of the chain.
	Reached, Passed addrset.Set
}
