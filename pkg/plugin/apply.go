// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/ruleset"
)

// A change is where each place has to go.
type change struct {
	view *view
	want map[place]*ruleset.Layout
	// open is the link on which this change needs route_localnet.
	open string
}

// errNotUndone means that a failed change left something behind.
var errNotUndone = errors.New("the change could not be undone, run DEL")

// apply brings every place to what is wanted, one restore each. When one fails,
// all are brought back to what they were: by looking again, because a restore
// that covers two tables may have committed the first.
func (c change) apply(t *iptables.Tools) error {
	closed, err := c.closeLocalnet()
	for i, at := range c.view.places {
		if err != nil {
			break
		}
		script := ruleset.Diff(c.view.layouts[at], c.want[at])
		if script == "" {
			continue
		}
		if err = t.Restore(at.flavour, at.family, script); err != nil {
			err = fmt.Errorf("could not change the iptables-%s rules (%s): %w", at.flavour, at.family, err)
			err = errors.Join(err, c.undo(t, c.view.places[:i+1]))
		}
	}
	if err == nil && c.open != "" {
		if err = openLocalnet(c.open); err != nil {
			err = errors.Join(err, c.undo(t, c.view.places))
		}
	}
	if err != nil {
		for _, link := range closed {
			_ = host.SetRouteLocalnet(link, true)
		}
	}
	return err
}

// undo brings places back to what they were before.
func (c change) undo(t *iptables.Tools, places []place) error {
	var all error
	for _, at := range places {
		d, err := t.Save(at.flavour, at.family)
		if err == nil {
			if script := ruleset.Diff(ruleset.FromDump(d, at.family), c.view.layouts[at]); script != "" {
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
	for _, at := range c.view.places {
		kept := c.want[at].Guarded()
		for link, was := range c.view.layouts[at].Guarded() {
			if _, keep := kept[link]; keep || was {
				continue
			}
			if err := host.SetRouteLocalnet(link, false); err != nil {
				return closed, err
			}
			closed = append(closed, link)
		}
	}
	return closed, nil
}

// openLocalnet switches it on. It comes after the guard is there.
func openLocalnet(link string) error {
	on, err := host.RouteLocalnet(link)
	if err != nil || on {
		return err
	}
	return host.SetRouteLocalnet(link, true)
}
