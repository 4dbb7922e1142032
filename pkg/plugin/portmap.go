// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/portmap"
)

// removePortmap removes the rules that portmap made for a container, of both its
// backends and of nobody else. What v has read of iptables-legacy is not read again.
func removePortmap(v *view, t *iptables.Tools, o hostport.Owner) error {
	r := nftconn.NewReader()
	for _, f := range nodeFamilies() {
		for _, fl := range flavours() {
			if fl == iptables.NFT {
				there, err := mentioned(r, f, o)
				if err != nil {
					return err
				}
				if !there {
					continue
				}
			}
			d, read := v.dumps[place{fl, f}]
			if !read || fl == iptables.NFT { // of that only our own chains were read
				var err error
				if d, err = t.Save(fl, f); err != nil {
					return err
				}
			}
			if script := portmap.Script(d, o); script != "" {
				if err := t.Restore(fl, f, script); err != nil {
					return err
				}
			}
		}
	}
	b := &nft.Batch{}
	for _, table := range portmap.Tables() {
		rules, err := r.AllRules(table)
		if err != nil {
			return err
		}
		portmap.Remove(b, table, rules, o.ContainerID)
	}
	return nftconn.Apply(b)
}

// mentioned reports whether portmap may have rules of iptables-nft for a container.
func mentioned(r *nftconn.Reader, f hostport.Family, o hostport.Owner) (bool, error) {
	nat := nft.Table{Family: f.NFProto(), Name: "nat"}
	names, err := r.Names(nat)
	if err != nil || !slices.Contains(names, portmap.Entry) {
		return false, err
	}
	rules, err := r.Rules(nat, portmap.Entry)
	return portmap.Mentioned(rules, o), err
}

// deadOfPortmap takes out of a report what rules of dead containers are the reason
// for, and names those.
func deadOfPortmap(r *conflict.Report, cacheDir string) []hostport.Owner {
	var dead []hostport.Owner
	r.Conflicts = slices.DeleteFunc(r.Conflicts, func(f conflict.Finding) bool {
		o := f.Portmap
		if o.ContainerID == "" || !slices.Contains(dead, o) && !portmap.Dead(cacheDir, o) {
			return false
		}
		if !slices.Contains(dead, o) {
			dead = append(dead, o)
		}
		f.Dead = true
		r.Beside = append(r.Beside, f)
		return true
	})
	return dead
}
