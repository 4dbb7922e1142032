// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/legacy"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
)

// The two implementations of iptables, which hold rules of their own.
const (
	NFT    = "nft"
	Legacy = "legacy"
)

// Chains of kube-proxy (pkg/proxy/iptables/proxier.go), and of the kubelet, which makes
// the hint in the iptables that it uses (pkg/kubelet/kubelet_network_linux.go).
const (
	kubeServices = "KUBE-SERVICES"
	kubeHint     = "KUBE-IPTABLES-HINT"
)

// Options say what is to be read.
type Options struct {
	// Proc is where procfs is mounted.
	Proc string
	// Local is what the node answers for.
	Local []hostport.Local
	// Mappings, if there are any, are those that a decision is about. Rules that are for
	// other destinations or ports are left out then. Whoever wants all rules of a chain
	// has a Reader without them.
	Mappings []hostport.Mapping
	// Conn is the connection to nf_tables, nil for one of its own.
	Conn *nftconn.Conn
	// Chain, if set, tells the chains that Reader.Chains is about. It must not change.
	Chain func(name string) bool
}

// A Reader reads the rules of the calling thread's network namespace, each once: it lives
// as long as one decision. It must not be shared.
type Reader struct {
	o   Options
	nft *nftconn.Reader
	// generation is that of nf_tables when the reading began.
	generation uint32
	failed     error
	// tables are those of iptables-legacy that exist, nil for one that was not read yet.
	tables map[nft.Table]*legacy.Table
}

// New begins a reading. With mappings it reads kube-proxy's big chains already, while the
// caller looks at the rest of the node: they have a rule or more for each Service, and
// every packet to the node passes them.
func New(o Options) *Reader {
	if o.Conn == nil {
		o.Conn = nftconn.Open()
	}
	r := &Reader{o: o, nft: o.Conn.Reader()}
	r.generation, r.failed = r.nft.Generation()
	r.nft.Wanted = func(chain string) bool { return chain == kubeHint || o.Chain == nil || o.Chain(chain) }
	if len(o.Mappings) == 0 {
		return r
	}
	r.nft.Concerns, r.nft.Asked = hostport.Concerns(o.Local, o.Mappings), hostport.Asked(o.Mappings)
	for _, f := range hostport.Families() {
		r.nft.Ahead(nft.Table{Family: f.NFProto(), Name: "nat"}, kubeServices)
	}
	return r
}

// Mappings are those that the reading is about.
func (r *Reader) Mappings() []hostport.Mapping { return r.o.Mappings }

// TakeChains reuses what another reading of the same call, without mappings, has already:
// the list of chains, unless there was a transaction in between, and the tables of
// iptables-legacy, of which the kernel gives all rules or none.
func (r *Reader) TakeChains(o *Reader) {
	if r.failed == nil && o.failed == nil && o.generation == r.generation {
		r.nft.TakeChains(o.nft)
	}
	if r.tables != nil || o.tables == nil {
		return
	}
	r.tables = map[nft.Table]*legacy.Table{}
	for at, t := range o.tables {
		if t != nil {
			t = t.For(r.nft.Concerns)
		}
		r.tables[at] = t
	}
}

// NFT reads nf_tables.
func (r *Reader) NFT() *nftconn.Reader { return r.nft }

// legacyTables are the tables of iptables-legacy that exist, as Reader has them.
func (r *Reader) legacyTables() (map[nft.Table]*legacy.Table, error) {
	if r.tables != nil {
		return r.tables, nil
	}
	tables := map[nft.Table]*legacy.Table{}
	for _, f := range hostport.Families() {
		names, err := legacyNames(r.o.Proc, f)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			tables[nft.Table{Family: f.NFProto(), Name: name}] = nil
		}
	}
	r.tables = tables
	return tables, nil
}

// legacyTable reads a table of iptables-legacy, nil if it does not exist.
func (r *Reader) legacyTable(at nft.Table) (*legacy.Table, error) {
	tables, err := r.legacyTables()
	t, exists := tables[at]
	if err != nil || !exists || t != nil {
		return t, err
	}
	if t, err = readLegacy(at); err != nil {
		return nil, err
	}
	t.Concerns = r.nft.Concerns
	tables[at] = t
	return t, nil
}

// Chains lists the names of chains of a table of iptables; none if there is no such table.
// Of those of nf_tables it knows the ones that Options.Chain tells, and base chains.
func (r *Reader) Chains(flavour string, f hostport.Family, table string) ([]string, error) {
	at := nft.Table{Family: f.NFProto(), Name: table}
	if flavour == NFT {
		return r.nft.Names(at)
	}
	t, err := r.legacyTable(at)
	if t == nil || err != nil {
		return nil, err
	}
	return t.Chains(), nil
}

// Rules lists the rules of a chain of a flavour of iptables. A chain or table of
// iptables-legacy that is not there is fs.ErrNotExist; of nf_tables the kernel says that
// it has no rules.
func (r *Reader) Rules(flavour string, t nft.Table, chain string) ([]nft.Rule, error) {
	if flavour == NFT {
		return r.nft.Rules(t, chain)
	}
	table, err := r.legacyTable(t)
	if err == nil && table == nil {
		err = fmt.Errorf("iptables-legacy has no table %s: %w", t, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return table.Rules(chain)
}

// Present reports whether a flavour of iptables has rules of a family, or empty tables.
// No table is made: asking iptables-legacy would.
func (r *Reader) Present(flavour string, f hostport.Family) (there bool, err error) {
	for _, name := range []string{"nat", "filter", "mangle"} {
		at := nft.Table{Family: f.NFProto(), Name: name}
		if flavour == NFT {
			_, there, err = r.nft.TableFlags(at)
		} else {
			var tables map[nft.Table]*legacy.Table
			tables, err = r.legacyTables()
			_, there = tables[at]
		}
		if there || err != nil {
			return there, err
		}
	}
	return false, nil
}

// Proxies tells the flavours of iptables in which kube-proxy has its rules: table nat
// jumps to KUBE-SERVICES; and those in which the kubelet left its hint.
func (r *Reader) Proxies() (kubeProxy, hint []string, err error) {
	for _, flavour := range []string{NFT, Legacy} {
		for _, f := range hostport.Families() {
			jumps, err := r.jumps(flavour, f)
			if err != nil {
				return nil, nil, err
			}
			if jumps {
				kubeProxy = append(kubeProxy, flavour)
			}
			has, err := r.has(flavour, f, "mangle", kubeHint)
			if err != nil {
				return nil, nil, err
			}
			if has {
				hint = append(hint, flavour)
			}
		}
	}
	return slices.Compact(kubeProxy), slices.Compact(hint), nil
}

func (r *Reader) has(flavour string, f hostport.Family, table, chain string) (bool, error) {
	names, err := r.Chains(flavour, f, table)
	return slices.Contains(names, chain), err
}

// jumps reports whether kube-proxy's chain is entered from where packets to the node come.
func (r *Reader) jumps(flavour string, f hostport.Family) (bool, error) {
	at := nft.Table{Family: f.NFProto(), Name: "nat"}
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		has, err := r.has(flavour, f, "nat", chain)
		var rules []nft.Rule
		if has {
			rules, err = r.Rules(flavour, at, chain)
		}
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(rules, func(ru nft.Rule) bool { return ru.Target() == kubeServices }) {
			return true, nil
		}
	}
	return false, nil
}
