// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"time"

	"github.com/portguard/portguard/pkg/backend"
	iptbackend "github.com/portguard/portguard/pkg/backend/iptables"
	"github.com/portguard/portguard/pkg/backend/iptables/ruleset"
	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/backend/nftables"
	"github.com/portguard/portguard/pkg/backend/portmap"
	"github.com/portguard/portguard/pkg/backend/reservation"
	"github.com/portguard/portguard/pkg/backend/reservation/holds"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/rules"
)

// Backends are all places, in the order in which changes are applied: localhost before
// the mappings that need it, what is held against binds after them, so that a port is free
// when nothing leads to a pod any more. Those of other plugins are at the end, because what is
// removed of them does not come back.
func (n *Node) Backends(o plugin.BackendOptions) []backend.Backend {
	r := &reading{n: n, loaded: true}
	if n.backends != nil && !n.backends.loaded { // Facts has begun it
		r.now = n.backends.now
	}
	n.backends = r
	var mappers []backend.Backend
	guards := []localnet.Guard{nftables.NewGuard(n.conn, host.Links{})}
	into := guards[0]
	for _, fl := range iptables.Flavours() {
		opts := iptbackend.Options{
			Tools: tools{n.tools(o.Wait), r}, Families: n.Families(), Batch: r.apply, Within: o.Reach,
			All: nftconn.AllRules,
			HasSets: func(t nft.Table) (bool, error) {
				sets, err := n.conn.Reader().Sets(t)
				return len(sets) > 0, err
			},
			Open:    func() iptbackend.Reader { return r.open() },
			SetName: host.Sets{}.SetName,
			Sets:    func(f hostport.Family) ([]ruleset.Set, error) { return serviceSets(o.On, f) },
		}
		b, g := iptbackend.New(fl, opts), iptbackend.NewGuard(fl, opts)
		mappers, guards = append(mappers, b), append(guards, g)
		if b.Name() == o.Into && n.lacksNFTables() {
			into = g
		}
	}
	n.into = o.Into
	local := localnet.New(host.Sysctls{}, into, guards...)
	local.Users, local.Records = o.Users, o.Records
	others := portmap.New(portmap.Options{
		CacheDir: o.CacheDir, Life: o.Life, Families: n.Families(), Batch: r.apply,
		Open:     func() portmap.Reader { return r.open() },
		Iptables: n.tools(o.Wait).Run,
	})
	n.bound = map[uint16]bool{}
	held := reservation.New(reservation.Options{
		Ports: host.Ports{}, Spared: o.On.NeverMapped(), Links: o.On.Receiving, Known: o.Known,
		Bound: func(s holds.Slot) {
			if s.Proto == hostport.TCP {
				n.bound[s.Port] = true
			}
		},
	})
	return slices.Concat([]backend.Backend{local}, mappers, []backend.Backend{nftables.New(n.conn, o.Reach), held, others})
}

// lacksNFTables reports whether a guard has to be made with iptables, which sees neither
// what nftables does to a packet afterwards nor a link that is renamed. A call whose
// mappings were to go into nftables has found that out. If the kernel does not say, making
// the guard will tell.
func (n *Node) lacksNFTables() bool {
	lacks, _ := n.conn.Supported()
	return lacks != nil || n.into == nftables.Name
}

// A reading is what backends share of the rules of iptables, until one of them changes
// any: to list the chains takes long where kube-proxy has thousands.
type reading struct {
	n   *Node
	now *rules.Reader
	// loaded is set if backends were loaded from it: those that are made later read anew.
	loaded bool
}

func (r *reading) open() *rules.Reader {
	if r.now == nil {
		r.now = r.n.rules(rules.Options{Chain: ours})
	}
	return r.now
}

func (r *reading) apply(b *nft.Batch) error {
	r.now = nil
	return r.n.conn.Apply(b)
}

// tools change what was read.
type tools struct {
	*iptables.Tools
	r *reading
}

func (t tools) Restore(fl iptables.Flavour, f hostport.Family, script string) error {
	t.r.now = nil
	return t.Tools.Restore(fl, f, script)
}

// rules begins a reading.
func (n *Node) rules(o rules.Options) *rules.Reader {
	o.Proc, o.Conn = n.Proc, n.conn
	return rules.New(o)
}

// ours are the chains in tables of iptables whose names matter.
func ours(chain string) bool { return ruleset.IsOurs("nat", chain) || ruleset.IsOurs("mangle", chain) }

// serviceSets are the ipsets of kube-proxy's ipvs mode that exist. Without its link none
// is asked for.
func serviceSets(on *host.Addressing, f hostport.Family) ([]ruleset.Set, error) {
	if !on.IPVS {
		return nil, nil
	}
	var out []ruleset.Set
	for _, s := range ruleset.ServiceSets(f) {
		typ, err := host.Sets{}.SetType(s.Name)
		if err != nil {
			return nil, err
		}
		if typ != "" {
			out = append(out, s)
		}
	}
	return out, nil
}

// Facts are what decides where an attachment belongs.
func (n *Node) Facts(on *host.Addressing) (f place.Facts, err error) {
	n.backends = nil // what an earlier session has read is old
	f = place.Facts{IPVS: on.IPVS, NFTables: n.conn.Supported, NFTProgram: nftconn.HasTool, Iptables: n.flavours}
	for _, fam := range hostport.Families() {
		sets, err := serviceSets(on, fam)
		if err != nil {
			return f, err
		}
		if slices.ContainsFunc(sets, ruleset.Set.Addresses) {
			f.Followed = append(f.Followed, fam)
		}
	}
	return f, nil
}

// flavours tells the flavours of iptables apart.
func (n *Node) flavours() (on place.Iptables, err error) {
	if n.backends == nil {
		n.backends = &reading{n: n}
	}
	r := n.backends.open()
	if on.KubeProxy, on.Hint, err = r.Proxies(); err == nil {
		on.Native, err = native(r, n.Families())
	}
	on.Default = func() (string, error) {
		fl, err := n.tools(time.Second).Default()
		return string(fl), err
	}
	return on, err
}

// native reports whether kube-proxy is in nftables mode.
func native(r *rules.Reader, families []hostport.Family) (bool, error) {
	for _, f := range families {
		names, err := r.NFT().Names(nft.Table{Family: f.NFProto(), Name: "kube-proxy"})
		if err != nil || len(names) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// Allowed reports why the kernel would not let the caller change rules.
func (n *Node) Allowed() error { return n.conn.Allowed() }
