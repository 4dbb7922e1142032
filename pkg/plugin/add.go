// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// Add installs the mappings of the request, or refuses and changes nothing.
func (p *Plugin) Add(args *skel.CmdArgs) error {
	req, err := request(args)
	if err != nil {
		return err
	}
	store := state.Open(req.DataDir)
	// A container that is added again without ports loses those it had, so it goes through
	// the same path.
	if len(req.Attachment.Mappings) > 0 || store.Has(req.Attachment.Owner.Key()) {
		p.warn(req.Notes...)
		netns, err := p.podNetns(args)
		if err != nil {
			return err
		}
		return p.addPatiently(req, store, netns)
	}
	p.warn(req.Warnings...) // what is asked for may be nothing
	return p.answer(p.deliver(req), types.ErrIOFailure)
}

// request reads what ADD or CHECK is asked for.
func request(args *skel.CmdArgs) (*netconf.Request, error) {
	c, err := netconf.Parse(args.StdinData)
	if err != nil {
		return nil, cniError(err, types.ErrDecodingFailure)
	}
	req, err := netconf.NewRequest(c, args)
	return req, cniError(err, types.ErrInvalidNetworkConfig)
}

// addLocked adds under the lock and counts what the ADD met. If the kernel turns out to
// lack what the chosen backend needs, another one has to do, unless somebody asked for it.
func (p *Plugin) addLocked(req *netconf.Request, store *state.Store, netns state.Netns, patient bool) error {
	unlock, err := store.Lock(req.LockTimeout)
	if err != nil {
		return cniError(err, types.ErrIOFailure)
	}
	defer unlock()
	var report conflict.Report
	req.Attachment.Owner.Netns, req.Attachment.Excludes = netns.Inode, slices.Clip(req.Attachment.Excludes)
	try := func() (err error) {
		r := *req // add completes it
		report, err = p.add(&r, store, netns, patient)
		return err
	}
	err = retry(try)
	if other, ok := place.Instead(req.Backend, req.Syntax); ok && errors.Is(err, backend.ErrUnavailable) {
		p.warn(insteadOf(err, other))
		req.Backend = other
		err = retry(try)
	}
	var held *heldError
	if errors.As(err, &held) {
		return err
	}
	p.count(store, report, err)
	return p.answer(err, CodeApply)
}

// addError is cniError for an ADD: its backend does not work on a node without the tools.
func addError(err error, code uint) error {
	if errors.Is(err, iptables.ErrNoTool) {
		code = types.ErrInvalidNetworkConfig
	}
	return cniError(err, code)
}

// answer is addError. What cannot be said on stdout is said on stderr.
func (p *Plugin) answer(err error, code uint) error {
	said := addError(err, code)
	if errors.As(err, new(undelivered)) {
		p.warn(said.Error())
	}
	return said
}

// insteadOf warns that a backend does not work although it was chosen.
func insteadOf(err error, other string) string {
	return fmt.Sprintf("%v; %s is used instead", err, other)
}

// add is the whole ADD under the lock: look, decide, install.
func (p *Plugin) add(req *netconf.Request, store *state.Store, netns state.Netns, patient bool) (report conflict.Report, err error) {
	a, fresh := &req.Attachment, !store.Used()
	if report.Conflicts = conflict.Protected(a.Mappings, req.Protected, req.Name); len(report.Conflicts) > 0 {
		return report, refusal(report.Conflicts) // whatever the policy and the node
	}
	if err := store.Begin(a.Owner.Key()); err != nil {
		return report, cniError(err, types.ErrIOFailure)
	}
	release := func() {}
	defer func() {
		if err != nil {
			release()
			p.warnOf(store.Abandon(a.Owner.Key()), CodeApply)
		}
	}()
	s, choice, err := p.open(req, store)
	if err == nil {
		err = s.settle(req)
	}
	if err != nil {
		return report, addError(err, CodeUnreadable)
	}
	if release, err = s.hold(s.withFormer(*a)); err != nil {
		return report, addError(err, CodeApply)
	}
	if report, err = s.Find(*a, place.Order(choice.Backend)); err != nil {
		return report, addError(err, CodeUnreadable)
	}
	if keys := report.Awaited(); patient && len(keys) > 0 {
		return report, &heldError{refusal(report.Conflicts), store.Watch(keys)}
	}
	left, err := s.decide(req, &report, choice)
	if err != nil {
		return report, err
	}
	a.Carves, a.Flows = report.Carves, report.Flows
	rec := state.Record{Attachment: *a, Backend: choice.Backend, Wanted: req.Backend, Left: left, Netns: netns, BootID: p.Node.BootID(),
		Created: time.Now().UTC(), Warnings: append(conflict.Messages(report.Warnings), req.Warnings...)}
	if a.Link != "" {
		if rec.LinkIndex, err = s.Node.LinkIndex(a.Link); err != nil {
			return report, addError(err, CodeUnreadable)
		}
	}
	if err = s.install(req, rec, report); err != nil {
		return report, err
	}
	s.noteComplete(fresh)
	return report, nil
}

// withFormer is an attachment with the mappings that it had before, too: those stay held until
// they are replaced.
func (s *Session) withFormer(a hostport.Attachment) hostport.Attachment {
	if rec := s.Record(a.Owner.Key()); rec != nil {
		a.Mappings = joined(a.Mappings, rec.Attachment.Mappings)
	}
	return a
}

// install puts in place what was decided, and what others have to change for it.
func (s *Session) install(req *netconf.Request, rec state.Record, report conflict.Report) error {
	a, key := rec.Attachment, rec.Attachment.Owner.Key()
	s.Put(a, rec.Backend, report.TakeOver...)
	rec.Attachment.LocalnetWas = s.wasOn(key)                      // a guard that is there knows it better
	s.dropped = append(append(s.dropped, key), report.TakeOver...) // their records tell what was
	s.warn(req.Warnings...)
	s.warnOfStrays(rec.Backend)
	err := s.withOthers(func() error {
		return s.commit(rec, report.TakeOver, func() error { return s.deliver(req) })
	})
	if err != nil {
		return err
	}
	s.dropUDP(flows{a, false, report.Warnings})
	return nil
}

// open begins a session for a request and loads all backends.
func (p *Plugin) open(req *netconf.Request, store *state.Store) (*Session, place.Choice, error) {
	s, err := p.Begin(store, req.LockTimeout, req.Attachment)
	if err != nil {
		return nil, place.Choice{}, err
	}
	s.PodLogs = req.PodLogsDir
	choice, err := s.Choose(place.Wish{Backend: req.Backend, Syntax: req.Syntax})
	if err != nil {
		return nil, choice, err
	}
	if choice.Warning != "" {
		req.Warnings = append(slices.Clip(req.Warnings), choice.Warning)
	}
	p.Node.Begin(s.On, req.Attachment.Mappings)
	return s, choice, s.Load(BackendOptions{Into: choice.Backend, CacheDir: req.CacheDir, Records: s.Recorded})
}

// decide refuses the request for its conflicts. With conflictPolicy "warn" they are
// warnings. What other live attachments have then, or other interfaces of the container,
// is left to them.
func (s *Session) decide(req *netconf.Request, r *conflict.Report, choice place.Choice) (left []hostport.Mapping, err error) {
	a := &req.Attachment
	if len(r.Conflicts) > 0 {
		if !req.WarnOnly {
			return nil, refusal(r.Conflicts)
		}
		r.Warnings = append(r.Warnings, r.Conflicts...)
	}
	a.Mappings, left = leaveToOwners(*a, a.Mappings, s.Claimants(a.Mappings), choice.Backend)
	a.Localhost = a.Localhost && needsLocalhost(*a)
	s.warn(conflict.Messages(r.Warnings)...)
	return left, nil
}
