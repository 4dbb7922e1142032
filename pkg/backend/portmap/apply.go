// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/portmap"
)

// Apply removes the containers that are not wanted any more. What was removed before it
// failed is gone.
func (b *Backend) Apply(have, want backend.State) error {
	h, w := have.(*State).all, want.(*State).all
	gone := missing(h, w)
	if len(missing(w, h)) > 0 {
		return fmt.Errorf("%w: portmap's rules that were removed cannot be put back", backend.ErrNotUndone)
	}
	batch, removed := &nft.Batch{}, false
	for _, e := range gone {
		if e.place.flavour == "" {
			for _, r := range e.Rules {
				batch.DeleteRule(e.place.table, r.Chain, r.Handle)
			}
			continue
		}
		if err := b.remove(e); err != nil {
			return failure(removed, fmt.Errorf("could not remove portmap's rules for %s from iptables-%s (%s): %w", e.Owner.Short(), e.place.flavour, e.place.family, err))
		}
		removed = true
	}
	if batch.Empty() {
		return nil
	}
	if err := b.o.Batch(batch); err != nil {
		return failure(removed, fmt.Errorf("could not remove portmap's rules from nftables: %w", err))
	}
	return nil
}

// failure is the error of an Apply, which cannot bring back what it removed before.
func failure(removed bool, err error) error {
	if removed {
		return fmt.Errorf("%w: %w", backend.ErrNotUndone, err)
	}
	return err
}

// missing are those of a that b has not.
func missing(a, b []entry) []entry {
	return slices.DeleteFunc(slices.Clone(a), func(e entry) bool {
		return slices.ContainsFunc(b, func(o entry) bool { return o.Key == e.Key && o.place == e.place })
	})
}

// remove takes away a container's jumps, one after the other, and then its chains. Where
// iptables cannot, because it cannot show the table, nf_tables can.
func (b *Backend) remove(e entry) error {
	err := b.removeByName(e)
	if err == nil || e.place.flavour != iptables.NFT {
		return err
	}
	batch, t := &nft.Batch{}, nft.Table{Family: e.place.family.NFProto(), Name: "nat"}
	for _, r := range e.Rules {
		batch.DeleteRule(t, r.Chain, r.Handle)
	}
	for _, c := range e.Chains {
		batch.DeleteChain(t, c)
	}
	if berr := b.o.Batch(batch); berr != nil {
		return errors.Join(err, berr)
	}
	return nil
}

func (b *Backend) removeByName(e entry) error {
	nat := func(args ...string) (string, error) {
		return b.o.Iptables(e.place.flavour, e.place.family, append([]string{"-t", "nat"}, args...)...)
	}
	for {
		list, err := nat("-S", portmap.Entry)
		if err != nil && !errors.Is(err, iptables.ErrGone) {
			return err
		}
		i, rule := jump(list, e)
		if i == 0 {
			break
		}
		// By its text, since others change the chain too. Some conditions iptables does
		// not find again by it.
		if _, err = nat(append([]string{"-D", portmap.Entry}, rule...)...); err != nil {
			_, err = nat("-D", portmap.Entry, strconv.Itoa(i))
		}
		if err != nil {
			return err
		}
	}
	for _, c := range e.Chains {
		for _, what := range []string{"-F", "-X"} {
			if _, err := nat(what, c); err != nil && !errors.Is(err, iptables.ErrGone) {
				return err
			}
		}
	}
	return nil
}

// jump finds a rule that leads to a chain of the container, with its number from 1; 0 is
// none. What is searched is what "iptables -S CHAIN" prints.
func jump(list string, e entry) (number int, rule []string) {
	for l := range strings.Lines(list) {
		words := iptsave.Split(strings.TrimSuffix(l, "\n"))
		if len(words) < 3 || words[0].String() != "-A" {
			continue // "-N CHAIN"
		}
		number++
		for _, w := range words[2:] {
			rule = append(rule, w.String())
		}
		if slices.Contains(e.Chains, iptsave.Rule{Text: iptsave.Join(rule...)}.Spec().Target) {
			return number, rule
		}
		rule = nil
	}
	return 0, nil
}
