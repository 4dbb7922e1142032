// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
)

// Check compares what is there with what ADD installed, by content and order.
func (p *Plugin) Check(args *skel.CmdArgs) error {
	req, err := request(args)
	if err != nil {
		return err
	}
	if len(req.Attachment.Mappings) == 0 {
		return nil
	}
	if netns, err := state.StatNetns(args.Netns); err == nil {
		req.Attachment.Owner.Netns = netns.Inode
	}
	s, err := p.Begin(state.Open(req.DataDir), req.LockTimeout, req.Attachment)
	if err == nil {
		err = s.Load(BackendOptions{CacheDir: req.CacheDir})
	}
	var faults []fault
	if err == nil {
		faults, err = s.check(req)
	}
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	if len(faults) == 0 {
		return nil
	}
	return notAsInstalled(req.Attachment.Owner, faults)
}

// A fault is what CHECK found, and what helps.
type fault struct{ what, remedy string }

const (
	// restorable is what has a record, which restore needs.
	restorable = `run "portguard restore" on the node or restart the pod`
	// renewable is what only another ADD makes right.
	renewable = "restart the pod"
)

// notAsInstalled is the error of a CHECK that found faults. A remedy is not said twice.
func notAsInstalled(o hostport.Owner, faults []fault) error {
	var said []string
	for i, f := range faults {
		if f.remedy != "" && (i == 0 || f.remedy != faults[0].remedy) {
			f.what += "; " + f.remedy
		}
		said = append(said, f.what)
	}
	return newError(CodeNotAsInstalled, fmt.Sprintf("hostPorts of %s are not as installed: %s", o, said[0]), said[1:]...)
}

// check lists what is lost, and the rules that keep packets from the mappings. A NodePort
// or a listener that came later is not among them: nothing of ours is lost then.
func (s *Session) check(req *netconf.Request) (faults []fault, err error) {
	a, where, left, err := s.installed(req)
	if err != nil {
		return nil, err
	}
	var lost []string
	remedy := renewable
	if rec := s.Record(a.Owner.Key()); rec != nil {
		lost, remedy = s.Lost(rec), restorable
	} else {
		lost = s.Missing(a, where)
	}
	for _, l := range lost {
		faults = append(faults, fault{l, remedy})
	}
	if !sameMappings(slices.Concat(a.Mappings, left), req.Attachment.Mappings) {
		faults = append(faults, fault{"the configuration asks for other ports than ADD installed", renewable})
	}
	if !slices.Equal(a.Pods, req.Attachment.Pods) {
		faults = append(faults, fault{fmt.Sprintf("the pod has the addresses %v, and ADD mapped to %v", req.Attachment.Pods, a.Pods), renewable})
	}
	r, err := s.Find(a, place.Order(where))
	for _, f := range r.Conflicts {
		if f.Kind == finding.Hidden {
			faults = append(faults, fault{what: f.Message}) // which says what helps
		}
	}
	return faults, err
}

// installed is the attachment as ADD made it, where it is, and what it left to others:
// from its record, or, if the state was wiped, from the request and what only the rules
// can tell.
func (s *Session) installed(req *netconf.Request) (a hostport.Attachment, where string, left []hostport.Mapping, err error) {
	key := req.Attachment.Owner.Key()
	if rec := s.Record(key); rec != nil {
		return rec.Attachment, rec.Backend, rec.Left, nil
	}
	if err := s.settleLocalhost(req); err != nil {
		return req.Attachment, "", nil, err
	}
	a = req.Attachment
	a.Networks = hostport.Cover(s.On.Networks)
	if where = s.holder(key); where == "" {
		choice, err := place.Of(place.Wish{Backend: req.Backend, Syntax: req.Syntax}, s.Facts)
		if err != nil {
			return a, "", nil, err
		}
		where = choice.Backend
	}
	a.Mappings, left = leaveToOwners(a, a.Mappings, ofContainer(a.Owner.ContainerID, s.Claimants(a.Mappings)), where)
	a.Localhost = a.Localhost && needsLocalhost(a)
	seen, _ := s.Recover(key)
	a.Carves, a.Flows, a.LocalnetWas = seen.Carves, seen.Flows, seen.LocalnetWas
	for _, x := range seen.Excludes {
		if !slices.Contains(a.Excludes, x) {
			a.Excludes = append(a.Excludes, x)
		}
	}
	if len(seen.Networks) > 0 {
		a.Networks = seen.Networks
	}
	return a, where, left, nil
}

func sameMappings(a, b []hostport.Mapping) bool {
	in := make(map[hostport.Mapping]bool, len(b))
	for _, m := range b {
		in[m] = true
	}
	return len(a) == len(b) && !slices.ContainsFunc(a, func(m hostport.Mapping) bool { return !in[m] })
}
