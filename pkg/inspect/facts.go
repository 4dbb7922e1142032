// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"errors"
	"time"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/state"
)

// Facts collects what doctor must know of the node, for ADDs with configuration c. The
// conflists are not among it.
func (i *Inspector) Facts(c *netconf.Config) (f doctor.Facts, err error) {
	v, err := i.look(c)
	if err != nil {
		return f, err
	}
	choice, err := v.wouldUse(c)
	if err != nil { // perhaps for what somebody changed meanwhile
		if v, err = i.look(c); err != nil {
			return f, err
		}
		choice, err = v.wouldUse(c)
	}
	f.Backend, f.Why, f.BackendErr = choice.Backend, choice.Why, err
	f.Protected, f.Network, f.Forsaken = c.Protected, c.Name, forsaken(v.Session)
	f.StateErr, f.StateLoose, f.StateDisk = v.Store.CouldWrite(), v.Store.Loose(), v.Store.Disk()
	each(v.Session, func(x interface{ Misplaced() []string }) { f.Misplaced = append(f.Misplaced, x.Misplaced()...) })
	each(v.Session, func(x interface{ Stranger() string }) { f.Stranger = cmp.Or(f.Stranger, x.Stranger()) })
	if f.Proxies, err = i.Node.Proxies(v.On); err != nil {
		return f, err
	}
	if f.Addresses, err = v.addresses(); err != nil {
		return f, err
	}
	if f.List, err = v.list(); err != nil {
		return f, err
	}
	for _, fam := range i.Node.Families() {
		on, err := i.Node.Forwarding(fam)
		if err != nil {
			return f, err
		}
		if !on {
			f.NoForwarding = append(f.NoForwarding, fam)
		}
	}
	if f.EphemeralFrom, f.EphemeralTo, err = i.Node.EphemeralPorts(); err != nil {
		return f, err
	}
	if f.Reserved, err = i.Node.ReservedPorts(); err != nil {
		return f, err
	}
	if f.Programs, err = i.Node.SocketPrograms(); err != nil {
		return f, err
	}
	f.Policy, err = i.Node.RouteRules()
	now := time.Now()
	for _, r := range f.List.RefusedBinds { // slices.DeleteFunc is 1 KB of the program for each type
		if now.Sub(r.Last) <= recently {
			f.RefusedBinds = append(f.RefusedBinds, r)
		}
	}
	return f, err
}

// recently is for how long a refused bind is news.
const recently = time.Hour

// wouldUse is where an ADD would put mappings now, and why it could not.
func (v *view) wouldUse(c *netconf.Config) (place.Choice, error) {
	w := place.Wish{Backend: c.Backend, Syntax: c.Syntax}
	choice, err := v.tried(c, w)
	if other, ok := place.Instead(w.Backend, w.Syntax); ok && errors.Is(err, backend.ErrUnavailable) {
		why := err.Error()
		w.Backend = other
		choice, err = v.tried(c, w)
		choice.Why = why
	}
	return choice, err
}

func (v *view) tried(c *netconf.Config, w place.Wish) (place.Choice, error) {
	choice, err := place.Of(w, v.Session.Facts)
	if err == nil {
		err = v.Try(c.Template, choice.Backend)
	}
	return choice, err
}

// each calls f with what every backend holds that is a T.
func each[T any](s *plugin.Session, f func(T)) {
	s.EachState(func(_ backend.Backend, st backend.State) {
		if x, ok := st.(T); ok {
			f(x)
		}
	})
}

// Counters are what ADDs met since boot.
func (i *Inspector) Counters(dataDir string) state.Counters {
	return state.Open(dataDir).Counters(i.Node.BootID())
}
