// SPDX-License-Identifier: Apache-2.0

// Package portmap knows the rules of the plugin that portguard replaces: their shapes,
// and whose they are. Names and shapes are those of containernetworking/plugins,
// plugins/meta/portmap. It is pure; package backend/portmap reads and removes them.
package portmap

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// Entry is the chain of table nat of iptables that leads to those of containers.
const Entry = "CNI-HOSTPORT-DNAT"

// Owner reads the container from the comment of a rule that leads to its chain:
// dnat name: "NETWORK" id: "CONTAINER". Portmap cuts what is too long.
func Owner(comment string) (hostport.Owner, bool) {
	_, rest, named := strings.Cut(comment, `name: "`)
	network, rest, ok := strings.Cut(rest, `" id: "`)
	id, _, _ := strings.Cut(rest, `"`)
	if !named || !ok || strings.Contains(network, `"`) {
		return hostport.Owner{}, false
	}
	return hostport.Owner{Network: network, ContainerID: id}, true
}

// Key names what portmap has for a container of a network. In nftables its rules do not
// tell the network. No attachment of portguard has such a key: no interface is called so.
func Key(o hostport.Owner) hostport.Key {
	return hostport.Owner{ContainerID: o.ContainerID, IfName: "portmap " + o.Network}.Key()
}

// Keys are all that portmap may have something for a container by.
func Keys(o hostport.Owner) []hostport.Key {
	return []hostport.Key{Key(o), Key(hostport.Owner{ContainerID: o.ContainerID})}
}

// Tables are those of the nftables backend.
func Tables() []nft.Table {
	return []nft.Table{{Family: nft.IPv4, Name: "cni_hostport"}, {Family: nft.IPv6, Name: "cni_hostport"}}
}

// A Container is what portmap has for one in one table.
type Container struct {
	Owner hostport.Owner
	Key   hostport.Key
	// Chains are its own, with iptables.
	Chains []string
	// Rules are those that stand in chains of others, by chain.
	Rules  []nft.Rule
	Claims []hostport.Claim
}

// A Lister lists the rules of a chain. One that is not there is fs.ErrNotExist, or empty.
type Lister func(t nft.Table, chain string) ([]nft.Rule, error)

func (list Lister) rules(t nft.Table, chain string) ([]nft.Rule, error) {
	rules, err := list(t, chain)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for i := range rules {
		rules[i].Chain = chain
	}
	return rules, err
}

// Iptables finds what portmap has with iptables, in one flavour and family.
func Iptables(f hostport.Family, list Lister) ([]Container, error) {
	t := nft.Table{Family: f.NFProto(), Name: "nat"}
	jumps, err := list.rules(t, Entry)
	if err != nil {
		return nil, err
	}
	found := containers{places: map[hostport.Key]int{}}
	read := map[string]bool{}
	for _, j := range jumps {
		s, _ := xt.Spec(j, f)
		owner, ok := Owner(s.Comment())
		if !ok || s.Target == "" {
			continue
		}
		c := found.of(owner)
		if c.Rules = append(c.Rules, j); read[s.Target] { // one jump a protocol
			continue
		}
		read[s.Target] = true
		c.Chains = append(c.Chains, s.Target)
		rules, err := list.rules(t, s.Target)
		if err != nil {
			return nil, err
		}
		c.claims(rules, f)
	}
	return found.all, nil
}

// Native finds what portmap has in one of Tables: its rules have the container's ID as
// their comment.
func Native(t nft.Table, list Lister) ([]Container, error) {
	f := hostport.IPv4
	if t.Family == nft.IPv6 {
		f = hostport.IPv6
	}
	found := containers{places: map[hostport.Key]int{}}
	for _, chain := range []string{"hostports", "hostip_hostports", "masquerading"} {
		rules, err := list.rules(t, chain)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if r.Comment != "" {
				c := found.of(hostport.Owner{ContainerID: r.Comment})
				c.Rules = append(c.Rules, r)
				c.claims([]nft.Rule{r}, f)
			}
		}
	}
	return found.all, nil
}

// containers are those that were found, in order.
type containers struct {
	all    []Container
	places map[hostport.Key]int
}

func (cs *containers) of(o hostport.Owner) *Container {
	key := Key(o)
	i, known := cs.places[key]
	if !known {
		i = len(cs.all)
		cs.places[key] = i
		cs.all = append(cs.all, Container{Owner: o, Key: key})
	}
	return &cs.all[i]
}

// claims adds the mappings among rules.
func (c *Container) claims(rules []nft.Rule, f hostport.Family) {
	for _, r := range rules {
		s, _ := xt.Spec(r, f)
		if m, to, ok := s.Mapping(f); ok {
			c.Claims = append(c.Claims, hostport.Claim{Owner: c.Owner, Key: c.Key, Foreign: true, Mapping: m, Target: to, Packets: xt.Packets(r)})
		}
	}
}
