// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nfttable"
)

// Name is the backend's.
const Name = "nftables"

// Table is that of the mappings.
func Table() nft.Table { return nft.Table{Family: nft.Inet, Name: "portguard"} }

// Priorities of our base chains. Of two nat chains with one priority the one
// that was registered last runs first, and kube-proxy registers its own again at
// every start; so ours do not share its -100 and 100 (NF_IP_PRI_NAT_DST and
// _SRC).
const (
	// Priority is that of the chains in which hostPorts are.
	Priority = conflict.PrioNftables
	prioSNAT = 90
)

// Names of the sets that are not one for each family.
const (
	setLocalhost = "localhost"
	setLinks     = "links"
)

// A familyInfo is what differs between the families.
type familyInfo struct {
	family hostport.Family
	addr   nfttable.Type
	words  int // registers of an address
	// src and dst are offsets in the header.
	src, dst uint32
	ctDst    uint32
}

func info(f hostport.Family) familyInfo {
	if f == hostport.IPv4 {
		return familyInfo{f, nfttable.Addr4, 1, 12, 16, unix.NFT_CT_DST_IP}
	}
	return familyInfo{f, nfttable.Addr6, 4, 8, 24, unix.NFT_CT_DST_IP6}
}

// name appends the family to a name.
//
//go:noinline // it is called from many places
func (f familyInfo) name(s string) string {
	if f.family == hostport.IPv4 {
		return s + "4"
	}
	return s + "6"
}

// Spec is the table of the mappings, as it always is.
func Spec() nfttable.Spec {
	s := nfttable.Spec{Table: Table(), Prefix: chainPrefix("")}
	for _, f := range hostport.Families() {
		s.Sets = append(s.Sets, info(f).sets()...)
	}
	s.Sets = append(s.Sets,
		nfttable.Set{Name: setLocalhost, Key: []nfttable.Type{nfttable.Proto, nfttable.Service}, Value: []nfttable.Type{nfttable.Addr4, nfttable.Service}},
		nfttable.Set{Name: setLinks, Key: []nfttable.Type{nfttable.IfName, nfttable.Addr4, nfttable.Addr4, nfttable.Proto, nfttable.Service}})
	for _, f := range hostport.Families() {
		s.Chains = append(s.Chains, plain(info(f).name("bylink"), info(f).byLink()), plain(info(f).name("hostports"), info(f).hostports()))
	}
	s.Chains = append(s.Chains, plain("loopback4", loopback()), plain("masquerading", masquerading()),
		nfttable.Chain{Chain: nft.Chain{Table: Table(), Name: "established"}, Rules: established(), Lesser: unknown()},
		base(Table(), "prerouting", "nat", nft.Prerouting, Priority, prerouting()),
		base(Table(), "output", "nat", nft.Output, Priority, output()),
		base(Table(), "postrouting", "nat", nft.Postrouting, prioSNAT, postrouting()))
	return s
}

func (f familyInfo) sets() []nfttable.Set {
	port, to := []nfttable.Type{nfttable.Proto, nfttable.Service}, []nfttable.Type{f.addr, nfttable.Service}
	addressAndPort := append([]nfttable.Type{f.addr}, port...)
	return []nfttable.Set{
		{Name: f.name("own"), Key: []nfttable.Type{f.addr, nfttable.Service}, Intervals: true},
		{Name: f.name("ports"), Key: port, Value: to},
		{Name: f.name("addresses"), Key: addressAndPort, Value: to},
		{Name: f.name("conditions"), Key: addressAndPort, Verdicts: true, Intervals: true},
		{Name: f.name("spared"), Key: append(port[:2:2], f.addr), Intervals: true},
		{Name: f.name("bylink"), Key: append([]nfttable.Type{nfttable.IfName}, addressAndPort...)},
		{Name: f.name("connected"), Key: []nfttable.Type{f.addr, nfttable.Service, f.addr, nfttable.Service}},
		{Name: f.name("masquerade"), Key: addressAndPort},
		{Name: f.name("neighbours"), Key: []nfttable.Type{f.addr, f.addr, f.addr}, Intervals: true},
	}
}

func plain(name string, rules [][]nft.Expr) nfttable.Chain {
	return nfttable.Chain{Chain: nft.Chain{Table: Table(), Name: name}, Rules: rules}
}

func base(t nft.Table, name, typ string, hook uint32, prio int32, rules [][]nft.Expr) nfttable.Chain {
	return nfttable.Chain{Chain: nft.Chain{Table: t, Name: name, Type: typ, Hook: hook, Priority: prio}, Rules: rules}
}
