// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// Name is the table's.
func Name() nft.Table { return nft.Table{Family: nft.Inet, Name: "portguard"} }

// Priorities of our base chains. Of two nat chains with one priority the one
// that was registered last runs first, and kube-proxy registers its own again at
// every start; so ours do not share its -100 and 100 (NF_IP_PRI_NAT_DST and
// _SRC).
const (
	// Priority is that of the chains in which hostPorts are.
	Priority  = -95
	prioSNAT  = 90
	prioGuard = -150
	// prioGate is before every other translation: a nat chain must come behind
	// conntrack (-200).
	prioGate = -199
)

// Types of the parts of keys (nft's enum datatypes), six bits each in the type of
// a whole key.
type keyType uint32

const (
	addr4   keyType = 7
	addr6   keyType = 8
	proto   keyType = 12
	service keyType = 13
	ifname  keyType = 41
)

func (k keyType) size() int {
	switch k {
	case addr6, ifname:
		return 16
	case addr4:
		return 4
	case service:
		return 2
	case proto:
		return 1
	}
	return 0
}

// A setSpec is one of our sets or maps.
type setSpec struct {
	name string
	key  []keyType
	// value is what a map holds; verdicts if it holds those.
	value    []keyType
	verdicts bool
	interval bool
}

func (s setSpec) isMap() bool { return s.verdicts || s.value != nil }

// A familyInfo is what differs between the families.
type familyInfo struct {
	family hostport.Family
	table  uint8 // NFPROTO_*
	addr   keyType
	words  int // registers of an address
	src    uint32
	dst    uint32
	ctDst  uint32
}

func info(f hostport.Family) familyInfo {
	if f == hostport.IPv4 {
		return familyInfo{f, nft.IPv4, addr4, 1, 12, 16, ctDstIP}
	}
	return familyInfo{f, nft.IPv6, addr6, 4, 8, 24, ctDstIP6}
}

// name appends the family to a name.
func (f familyInfo) name(s string) string {
	if f.family == hostport.IPv4 {
		return s + "4"
	}
	return s + "6"
}

// Names of the sets that are not one for each family.
const (
	setLocalhost = "localhost"
	setLinks     = "links"
	setGuarded   = "guarded"
)

// sets are all of ours, in the order in which they are made.
func sets() []setSpec {
	var out []setSpec
	for _, f := range []string{"4", "6"} {
		for _, name := range []string{"ports", "addresses", "conditions", "spared", "masquerade", "neighbours"} {
			s, _ := spec(name + f)
			out = append(out, s)
		}
	}
	for _, name := range []string{setLocalhost, setLinks, setGuarded} {
		s, _ := spec(name)
		out = append(out, s)
	}
	return out
}

// spec returns the set of that name.
func spec(name string) (setSpec, bool) {
	base, addr := name, addr4
	switch {
	case strings.HasSuffix(name, "4"):
		base = name[:len(name)-1]
	case strings.HasSuffix(name, "6"):
		base, addr = name[:len(name)-1], addr6
	}
	s := setSpec{name: name}
	switch base {
	case "ports":
		s.key, s.value = []keyType{proto, service}, []keyType{addr, service}
	case "addresses":
		s.key, s.value = []keyType{addr, proto, service}, []keyType{addr, service}
	case "conditions":
		s.key, s.verdicts, s.interval = []keyType{addr, proto, service}, true, true
	case "spared":
		s.key, s.interval = []keyType{proto, service, addr}, true
	case "masquerade":
		s.key = []keyType{addr, proto, service}
	case "neighbours":
		s.key, s.interval = []keyType{addr, addr, addr}, true
	case setLocalhost:
		s.key, s.value = []keyType{proto, service}, []keyType{addr4, service}
	case setLinks:
		s.key = []keyType{ifname, addr4, addr4, proto, service}
	case setGuarded:
		s.key = []keyType{ifname}
	default:
		return setSpec{}, false
	}
	return s, true
}

// set describes s as nf_tables does.
func (s setSpec) set() (out nft.Set, key, value uint32, valueLen int, fields []int) {
	out = nft.Set{Table: Name(), Name: s.name, Verdicts: s.verdicts, Counted: s.isMap()}
	for _, k := range s.key {
		key = key<<6 | uint32(k)
		fields = append(fields, k.size())
		out.KeyLen += (k.size() + 3) &^ 3
	}
	if len(s.key) == 1 {
		out.KeyLen = s.key[0].size()
	}
	for _, k := range s.value {
		value = value<<6 | uint32(k)
		valueLen += (k.size() + 3) &^ 3
	}
	if s.verdicts {
		value = nft.TypeVerdict
	}
	if s.isMap() {
		out.Flags |= nft.SetMap
	}
	if s.interval {
		out.Flags |= nft.SetInterval | nft.SetConcat
	}
	return out, key, value, valueLen, fields
}

// chains are those that every attachment shares, in the order in which they are
// made: a chain comes before those that jump to it.
func chains() []nft.Chain {
	plain := func(name string) nft.Chain { return nft.Chain{Table: Name(), Name: name} }
	base := func(name, typ string, hook uint32, prio int32) nft.Chain {
		return nft.Chain{Table: Name(), Name: name, Type: typ, Hook: hook, Priority: prio}
	}
	return []nft.Chain{plain("hostports4"), plain("hostports6"), plain("loopback4"), plain("masquerading"),
		base("gate", "nat", nft.Prerouting, prioGate), base("prerouting", "nat", nft.Prerouting, Priority), base("output", "nat", nft.Output, Priority),
		base("postrouting", "nat", nft.Postrouting, prioSNAT), base("guard", "filter", nft.Input, prioGuard)}
}

// IsBase reports whether c is one of our base chains, whatever its priority.
func IsBase(c nft.Chain) bool {
	return c.Table == Name() && slices.ContainsFunc(chains(), func(o nft.Chain) bool { return o.Name == c.Name && o.Type != "" })
}
