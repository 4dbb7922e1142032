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
	var lost []string
	if err == nil {
		lost, err = s.check(req)
	}
	if err != nil {
		return cniError(err, CodeUnreadable)
	}
	if len(lost) == 0 {
		return nil
	}
	return notAsInstalled(req.Attachment.Owner, lost)
}

// notAsInstalled is the error of a CHECK that found something lost.
func notAsInstalled(o hostport.Owner, lost []string) error {
	return newError(CodeNotAsInstalled, fmt.Sprintf("hostPorts of %s are not as installed: %s; run \"portguard restore\" on the node or restart the pod", o, lost[0]), lost[1:]...)
}

// check lists what is lost, and the rules that keep packets from the mappings. A NodePort
// or a listener that came later is not among them: nothing of ours is lost then.
func (s *Session) check(req *netconf.Request) ([]string, error) {
	a, where, left, err := s.installed(req)
	if err != nil {
		return nil, err
	}
	lost := s.Missing(a, where)
	if rec := s.Record(a.Owner.Key()); rec != nil {
		lost = s.Lost(rec)
	}
	if !sameMappings(slices.Concat(a.Mappings, left), req.Attachment.Mappings) {
		lost = append(lost, "the configuration asks for other ports than ADD installed")
	}
	if !slices.Equal(a.Pods, req.Attachment.Pods) {
		lost = append(lost, fmt.Sprintf("the pod has the addresses %v, and ADD mapped to %v", req.Attachment.Pods, a.Pods))
	}
	r, err := s.Find(a, place.Order(where))
	for _, f := range r.Conflicts {
		if f.Kind == finding.Hidden {
			lost = append(lost, f.Message)
		}
	}
	return lost, err
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
	a.Mappings, left = leaveToOwners(a.Mappings, ofContainer(a.Owner.ContainerID, s.Claimants(a.Mappings)), key, where)
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
