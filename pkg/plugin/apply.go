// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

// A change is where each place has to go.
type change struct {
	view *view
	want map[place]*ruleset.Layout
	// table is where our table of nftables has to go.
	table *nfttable.Table
	// inUse tells the links that other attachments map localhost on.
	inUse func(link string) bool
	// open are the links on which this change needs route_localnet.
	open []string
}

// errNotUndone means that a failed change left something behind.
var errNotUndone = errors.New("the change could not be undone")

// apply brings every place to what is wanted, one restore each, and the table of
// nftables with one transaction at the end. When one fails, all are brought back
// to what they were: by looking again, because a restore that covers two tables
// may have committed the first.
func (c change) apply(t *iptables.Tools) error {
	closed, err := c.closeLocalnet()
	plan := nfttable.Diff(c.view.table, c.table)
	done := 0
	if err == nil {
		err = c.prepare(plan)
	}
	for _, at := range c.view.places {
		if err != nil {
			break
		}
		done++
		if script := ruleset.Diff(c.view.layouts[at], c.want[at]); script != "" {
			if err = t.Restore(at.flavour, at.family, script); err != nil {
				err = fmt.Errorf("could not change the iptables-%s rules (%s): %w", at.flavour, at.family, err)
			}
		}
	}
	if err == nil {
		err = c.lacking(nftconn.Apply(plan.Commit))
	}
	for _, link := range c.open {
		if err == nil {
			err = openLocalnet(link)
		}
	}
	if err == nil {
		_ = nftconn.Apply(plan.Cleanup) // nothing leads to what it removes
		return nil
	}
	err = errors.Join(err, c.undo(t, c.view.places[:done]))
	if !plan.Empty() {
		err = errors.Join(err, c.undoTable())
	}
	for _, link := range closed {
		_ = host.SetRouteLocalnet(link, true)
	}
	return err
}

// lacking says of a table that could not be made that the kernel cannot do it.
func (c change) lacking(err error) error {
	made := !c.view.table.There
	if made && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)) {
		return fmt.Errorf("%w (is a module of nf_tables missing?): %w", nftconn.ErrNoKernel, err)
	}
	return err
}

// undoTable brings our table of nftables back, as far as the change got: by
// looking again.
func (c change) undoTable() error {
	now, err := nfttable.Read(nftconn.NewReader())
	if err == nil {
		back := nfttable.Diff(now, nfttable.Revert(now, c.view.table, c.table))
		if err = nftconn.Apply(back.Commit); err == nil {
			err = nftconn.Apply(back.Cleanup)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNotUndone, err)
	}
	return nil
}

// prepare makes what the nft program must read, without effect yet.
func (c change) prepare(plan nfttable.Plan) error {
	if err := c.lacking(nftconn.Apply(plan.Prepare)); err != nil {
		return err
	}
	if plan.Script == "" {
		return nil
	}
	return nftconn.RunScript(plan.Script)
}

// undo brings places back to what they were before.
func (c change) undo(t *iptables.Tools, places []place) error {
	var all error
	for _, at := range places {
		d, err := t.Save(at.flavour, at.family)
		if err == nil {
			now := ruleset.FromDump(d, at.family)
			if script := ruleset.Diff(now, c.view.layouts[at].Before(now, c.want[at])); script != "" {
				err = t.Restore(at.flavour, at.family, script)
			}
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%w: iptables-%s (%s): %w", errNotUndone, at.flavour, at.family, err))
		}
	}
	return all
}

// closeLocalnet switches route_localnet off where we switched it on and nobody
// needs it any more, and returns those links. It comes before the guard goes.
func (c change) closeLocalnet() (closed []string, err error) {
	had, kept := maps.Clone(c.view.table.Guarded()), maps.Clone(c.table.Guarded())
	for _, at := range c.view.places {
		for link, was := range c.view.layouts[at].Guarded() {
			had[link] = had[link] || was
		}
		maps.Copy(kept, c.want[at].Guarded())
	}
	for link, was := range had {
		if _, keep := kept[link]; keep || was || slices.Contains(c.open, link) || c.inUse(link) {
			continue
		}
		if err := host.SetRouteLocalnet(link, false); err != nil {
			return closed, err
		}
		closed = append(closed, link)
	}
	return closed, nil
}

// linksInUse tells the links on which attachments other than those of keys map
// localhost, by their records.
func linksInUse(store *state.Store, keys ...string) func(link string) bool {
	return func(link string) bool {
		return slices.ContainsFunc(store.Keys(), func(k string) bool {
			rec, err := store.Load(k)
			return err == nil && !slices.Contains(keys, k) && rec.Attachment.Localhost && rec.Attachment.Link == link
		})
	}
}

// openLocalnet switches it on. It comes after the guard is there.
func openLocalnet(link string) error {
	on, err := host.RouteLocalnet(link)
	if err != nil || on {
		return err
	}
	return host.SetRouteLocalnet(link, true)
}
