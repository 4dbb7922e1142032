// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/walk"
)

// A table4 is a Source of all tables by chain and set; elements are exact.
type table4 struct {
	chains map[string][]nft.Rule
	sets   map[string][]nft.Element
	err    error
}

var _ walk.Source = (*table4)(nil)

func (s *table4) Rules(_ nft.Table, chain string) ([]nft.Rule, error) {
	rules, ok := s.chains[chain]
	if !ok && s.err == nil {
		return nil, fmt.Errorf("chain %s: %w", chain, fs.ErrNotExist)
	}
	return rules, s.err
}

func (s *table4) Set(t nft.Table, name string) (nft.Set, error) {
	es, ok := s.sets[name]
	if !ok || len(es) == 0 {
		return nft.Set{}, fmt.Errorf("set %s: %w", name, fs.ErrNotExist)
	}
	return nft.Set{Table: t, Name: name, KeyLen: len(es[0].Key), Verdicts: es[0].Verdict.Chain != ""}, nil
}

func (s *table4) Lookup(set nft.Set, key []byte) (nft.Element, bool, error) {
	i := slices.IndexFunc(s.sets[set.Name], func(e nft.Element) bool { return string(e.Key) == string(key) })
	if i < 0 {
		return nft.Element{}, false, nil
	}
	return s.sets[set.Name][i], true, nil
}

func (s *table4) Elements(set nft.Set) ([]nft.Element, bool, error) {
	return s.sets[set.Name], true, nil
}

func attr(typ uint16, p []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(len(p)+4))
	b = append(binary.NativeEndian.AppendUint16(b, typ), p...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func be(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// ex makes an expression of numbers by attribute.
func ex(name string, nums ...uint32) nft.Expr {
	e := nft.Expr{Name: name, Attrs: nft.Attrs{}}
	for i := 0; i+1 < len(nums); i += 2 {
		e.Attrs = e.Attrs.With(uint16(nums[i]), be(nums[i+1]))
	}
	return e
}

func (s *table4) rule(chain, comment string, es ...nft.Expr) {
	s.chains[chain] = append(s.chains[chain], nft.Rule{Handle: uint64(len(s.chains[chain]) + 1), Comment: comment, Exprs: es})
}

// lookup looks the registers from 8 on up, in a verdict map or a set.
func lookup(set string, vmap bool) nft.Expr {
	e := ex("lookup", 2, 8)
	if vmap {
		e.Attrs = e.Attrs.With(3, be(0))
	}
	e.Attrs = e.Attrs.With(1, []byte(set+"\x00"))
	return e
}

func verdict(code int32, chain string) nft.Expr {
	e := ex("immediate", 1, 0)
	e.Attrs = e.Attrs.With(2, attr(2, slices.Concat(attr(1, be(uint32(code))), attr(2, []byte(chain+"\x00")))))
	return e
}

// dportIs loads the port and compares it.
func dportIs(n uint16) []nft.Expr {
	c := ex("cmp", 1, 8, 2, 0)
	c.Attrs = c.Attrs.With(3, attr(1, binary.BigEndian.AppendUint16(nil, n)))
	return []nft.Expr{ex("payload", 1, 8, 2, 2, 3, 2, 4, 2), c}
}

// protoPort is "meta l4proto . th dport" from register reg on.
func protoPort(reg uint32) []nft.Expr {
	return []nft.Expr{ex("meta", 1, reg, 2, 16), ex("payload", 1, reg+1, 2, 2, 3, 2, 4, 2)}
}

func daddr() nft.Expr { return ex("payload", 1, 8, 2, 1, 3, 16, 4, 4) }

func keyOf(p hostport.Proto, port uint16) []byte {
	return []byte{byte(p), 0, 0, 0, byte(port >> 8), byte(port), 0, 0}
}

// proxy has the shape of kube-proxy's tables in nftables mode, with Services of
// NodePort 30080, of NodePort 30082 without endpoints, and of an address of the
// node.
func proxy() *table4 {
	s := &table4{chains: map[string][]nft.Rule{}, sets: map[string][]nft.Element{}}
	node := netip.MustParseAddr(nodeIP).AsSlice()
	s.sets["nodeport-ips"] = []nft.Element{{Key: node}}
	s.sets["service-nodeports"] = []nft.Element{{Key: keyOf(tcp, 30080), Verdict: nft.Verdict{Code: nft.Goto, Chain: "external-SUSTUHLJ-default/web/tcp/http"}},
		{Key: keyOf(tcp, 30083), Verdict: nft.Verdict{Code: nft.Goto, Chain: "external-Z62NTLDZ-default/lb/tcp/"}}}
	s.sets["no-endpoint-nodeports"] = []nft.Element{{Key: keyOf(tcp, 30082), Comment: "default/empty", Verdict: nft.Verdict{Code: nft.Goto, Chain: "reject-chain"}}}
	s.sets["service-ips"] = []nft.Element{{Key: append(node, keyOf(tcp, 443)...), Verdict: nft.Verdict{Code: nft.Goto, Chain: "external-Z62NTLDZ-default/lb/tcp/"}}}
	s.rule("nat-prerouting", "", verdict(nft.Jump, "services"))
	s.rule("nat-output", "", verdict(nft.Jump, "services"))
	s.rule("services", "", append(append([]nft.Expr{daddr()}, protoPort(9)...), lookup("service-ips", true))...)
	s.rule("services", "", append(append([]nft.Expr{daddr(), lookup("nodeport-ips", false)}, protoPort(8)...), lookup("service-nodeports", true))...)
	s.rule("nodeport-endpoints-check", "", append(append([]nft.Expr{daddr(), lookup("nodeport-ips", false)}, protoPort(8)...), lookup("no-endpoint-nodeports", true))...)
	s.rule("reject-chain", "", ex("reject"))
	for _, svc := range []string{"SUSTUHLJ-default/web/tcp/http", "Z62NTLDZ-default/lb/tcp/"} {
		s.rule("external-"+svc, "masquerade", verdict(nft.Goto, "service-"+svc))
		s.rule("service-"+svc, "", ex("numgen", 1, 8), ex("nat", 1, 1, 2, uint32(nft.IPv4), 3, 8))
	}
	return s
}

func (s Snapshot) native(src walk.Source, chains ...nft.Chain) Snapshot {
	s.Rulesets = append(s.Rulesets[:len(s.Rulesets):len(s.Rulesets)], Ruleset{Holder: Nftables, Chains: chains, Source: src})
	return s
}

func base(family uint8, table, name, typ string, hook uint32) nft.Chain {
	return nft.Chain{Table: nft.Table{Family: family, Name: table}, Name: name, Type: typ, Hook: hook, Priority: -100}
}

// fakeSets are ipsets by name: the type, then the members "port" or "ip,port".
// Rules tell their indexes.
type fakeSets struct {
	rules   *xtrule.Tables
	members map[string][]string
	err     error
}

var _ walk.Sets = fakeSets{}

func (s fakeSets) SetName(index uint16) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	return s.rules.SetName(index)
}

func (s fakeSets) SetType(name string) (string, error) {
	if m, ok := s.members[name]; ok {
		return m[0], s.err
	}
	return "", s.err
}

func (s fakeSets) SetHas(name, typ string, a netip.Addr, p hostport.Proto, port uint16) (bool, error) {
	member := fmt.Sprintf("%s,%s:%d", a, p, port)
	if typ == "bitmap:port" {
		member = fmt.Sprint(port)
	}
	return slices.Contains(s.members[name][1:], member), s.err
}

func (s fakeSets) SetExpires(string) (bool, error) { return false, s.err }

// SetMembers tells nothing: sets are asked for single members.
func (s fakeSets) SetMembers(string) ([]hostport.Member, bool, error) { return nil, false, s.err }
