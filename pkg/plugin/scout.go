// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"maps"
	"slices"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
	"github.com/portguard/portguard/pkg/ruleset"
)

// A scout says what must be read as text of iptables-nft. That is what portguard
// has there and the chains it stands in; decisions are made on the rules as
// nf_tables has them.
type scout struct {
	reader *nftconn.Reader
	// generation is that of the rules when the reader began.
	generation uint32
	// all is set if the text of everything is needed: in ipvs mode, where rules
	// ask for ipsets.
	all bool
	// ours is set if iptables-nft matters only as far as portguard has rules
	// there already.
	ours bool
	// asked is an attachment that comes, with no rules yet, or goes: of portguard's chains
	// only those are read that can matter to it. Nil reads all of them.
	asked *hostport.Attachment
	// leaving is set if it goes; stay are all others in iptables-nft then.
	leaving bool
	stay    []hostport.Attachment
	// narrow is set if the reader does not tell the names of others' chains; lister does.
	narrow bool
	lister *nftconn.Reader
}

// renew begins to read anew. It reads kube-proxy's big chains already, while the
// rest of the node is looked at: they have one rule or more for each Service, and
// every packet to the node passes them.
func (s *scout) renew(on *host.Addressing, ms []hostport.Mapping) {
	s.reader = nftconn.NewReader()
	s.generation, _ = s.reader.Generation() // without it find looks again
	s.reader.Concerns = hostport.Concerns(on.Local, ms)
	if len(ms) > 0 {
		s.reader.Asked = hostport.Asked(ms)
	}
	if s.all { // as text
		return
	}
	s.list()
	for _, f := range hostport.Families() {
		s.reader.Ahead(nft.Table{Family: f.NFProto(), Name: "nat"}, "KUBE-SERVICES")
	}
}

// list says which names of chains the reader tells. What is remembered is for
// attachments to come, and has the names of all.
func (s *scout) list() {
	s.narrow, s.lister = s.asked != nil, nil
	s.reader.Wanted = wanted(nil)
	if s.narrow {
		s.reader.Wanted = wanted(s.asked)
	}
}

// A reading is what is known of the rules of a place. Part is set if the dump does
// not have all of them; the layout tells for itself.
type reading struct {
	dump   *iptsave.Dump
	layout *ruleset.Layout
	part   bool
}

// read begins to read the rules of a place, as few as will do. What it returns ends that
// and must be called.
func (s *scout) read(t *iptables.Tools, fl iptables.Flavour, f hostport.Family) func() (reading, error) {
	if s == nil || fl != iptables.NFT || s.all {
		return whole(t, fl, f)
	}
	wait := s.some(t, f, s.asked)
	if wait == nil {
		return whole(t, fl, f)
	}
	return func() (reading, error) {
		if r, ok := wait(); ok {
			return r, nil
		}
		if s.asked != nil {
			if wait := s.some(t, f, nil); wait != nil {
				if r, ok := wait(); ok {
					return r, nil
				}
			}
		}
		return whole(t, fl, f)()
	}
}

// whole reads all rules of a place.
func whole(t *iptables.Tools, fl iptables.Flavour, f hostport.Family) func() (reading, error) {
	wait := t.StartSave(fl, f)
	return func() (reading, error) {
		d, err := wait()
		return reading{d, ruleset.FromDump(d, f), false}, err
	}
}

// some reads the chains that tell where ours stand, and of portguard's own those that
// matter to an attachment, or all. It is nil if there is nothing to read, or nobody knows
// what; what it returns fails where that is not enough.
func (s *scout) some(t *iptables.Tools, f hostport.Family, asked *hostport.Attachment) func() (reading, bool) {
	chains, mine, err := s.chains(f, asked != nil)
	if err == nil && s.ours && !mine {
		return func() (reading, bool) { return reading{nil, ruleset.FromDump(nil, f), true}, true }
	}
	if err != nil || len(chains) == 0 {
		return nil
	}
	var beside []string
	switch {
	case asked == nil:
	case s.leaving:
		chains["nat"], beside = ruleset.Belonging(*asked, f, chains["nat"])
	default:
		var fresh bool
		if chains["nat"], beside, fresh = ruleset.Concerning(*asked, f, chains["nat"]); !fresh {
			return func() (r reading, ok bool) { return r, false }
		}
	}
	wait := t.StartChains(f, chains)
	return func() (reading, bool) {
		d, err := wait()
		if err != nil {
			return reading{}, false
		}
		l := ruleset.FromDump(d, f)
		if asked == nil {
			return reading{d, l, true}, true
		}
		if l.Beside(beside...); s.leaving {
			return reading{d, l, true}, l.Among(s.stay, asked.Owner.Key())
		}
		return reading{d, l, true}, l.Enough(asked.Mappings)
	}
}

// landmarks are chains of iptables, by table, that tell where ours stand and whose
// iptables it is.
func landmarks() map[string][]string {
	return map[string][]string{
		"nat":    {"PREROUTING", "OUTPUT", "POSTROUTING"},
		"mangle": {"PREROUTING", "KUBE-IPTABLES-HINT"},
	}
}

// wanted tells the chains whose names matter, of any table; of those of attachments
// alone to one of them, or to all. It is asked for every chain that there is.
func wanted(asked *hostport.Attachment) func(chain string) bool {
	names, key := slices.Concat(slices.Collect(maps.Values(landmarks()))...), ""
	if asked != nil {
		key = asked.Owner.Key()
	}
	return func(chain string) bool {
		return ruleset.IsOurs(chain) && (key == "" || !ruleset.Others(chain, key)) || slices.Contains(names, chain)
	}
}

// chains names what to read of each table: our chains, and those of others that
// tell where they stand. Mine is set if there are any of ours. Part is enough if the
// chains of other attachments do not matter.
func (s *scout) chains(f hostport.Family, part bool) (out map[string][]string, mine bool, err error) {
	r := s.reader
	if s.narrow && !part {
		if s.lister == nil {
			s.lister = nftconn.NewReader()
			s.lister.Wanted = wanted(nil)
		}
		r = s.lister
	}
	out = map[string][]string{}
	for table, others := range landmarks() {
		there, err := r.Names(nft.Table{Family: f.NFProto(), Name: table})
		if err != nil {
			return nil, false, err
		}
		for _, c := range there {
			own := ruleset.IsOurs(c)
			mine = mine || own
			if own || slices.Contains(others, c) {
				out[table] = append(out[table], c)
			}
		}
	}
	return out, mine, nil
}

// foreignChains are the base chains of nftables that portguard did not make.
func foreignChains(r *nftconn.Reader) ([]nft.Chain, error) {
	all, err := r.BaseChains()
	return slices.DeleteFunc(slices.Clone(all), nfttable.IsBase), err
}
