// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/way"
)

// agree compares, for every hostPort that list shows, what explain says of a packet from each
// side with a real connection, and with what list, doctor and metrics say. Servers are those
// that answer for a claimant, by a part of its name; pods answer with theirs.
func (s *situation) agree(servers map[string]string) {
	s.t.Helper()
	found, _ := diagnosis(s.t, s.n)
	for _, e := range hostPorts(s.t, s.n) {
		if e.Protocol == hostport.SCTP {
			continue
		}
		question := fmt.Sprintf("%s/%s", netip.AddrPortFrom(e.Address, e.Port), e.Protocol)
		a := ask(s.t, s.n, question)
		s.sides(a, servers)
		pod := "pod " + e.Pod + " (hostPort)"
		for _, o := range a.Outside {
			gets := strings.HasPrefix(o.Gets, pod) || e.By == "portmap" && strings.HasPrefix(o.Gets, "portmap for")
			switch e.State {
			case inventory.OK:
				s.want(gets && o.Closed == "", e, o)
			case inventory.Closed:
				s.want(o.Kind == "nobody" && o.Closed != "", e, o)
			case inventory.Shadowed:
				s.want(gets == strings.Contains(e.Reason, "gets nothing"), e, o)
			case inventory.Missing:
				s.want(!gets, e, o)
			case inventory.Waiting, inventory.Absent, inventory.Dead, inventory.Unknown: // nobody to compare with
			}
		}
		s.diagnosed(e, found)
		counted(s.t, s.n, e)
	}
}

func (s *situation) want(ok bool, e inventory.Entry, o explain.Outcome) {
	s.t.Helper()
	if !ok {
		s.t.Errorf("%d/%s: list says %s: %s, and explain %+v", e.Port, e.Protocol, e.State, e.Reason, o)
	}
}

// diagnosed wants doctor to have found what list shows, and nothing where all is well.
func (s *situation) diagnosed(e inventory.Entry, found map[string]doctor.Finding) {
	s.t.Helper()
	checks := map[inventory.State][]string{inventory.Closed: way.Checks(), inventory.Shadowed: {"shadowed"}, inventory.Missing: {"missing"},
		inventory.Dead: {"dead-owner"}, inventory.Absent: {"address"}, inventory.Unknown: {"unknown-owner"}}[e.State]
	if len(checks) > 0 && !slices.ContainsFunc(checks, func(c string) bool { return found[c].Remedy != "" }) {
		s.t.Errorf("%d/%s: list says %s: %s, and doctor %+v", e.Port, e.Protocol, e.State, e.Reason, found)
	}
	name := fmt.Sprintf("hostPort %d/%s (%s) of pod %s", e.Port, e.Protocol, hostport.FamilyOf(e.Address), e.Pod)
	for _, f := range found {
		if e.State == inventory.OK && f.Severity == doctor.Problem && strings.Contains(f.Message, name) {
			s.t.Errorf("%d/%s: list says ok, and doctor %+v", e.Port, e.Protocol, f)
		}
	}
}

// sides sends a packet for each outcome, all at once: one that is lost is waited for.
func (s *situation) sides(a explain.Answer, servers map[string]string) {
	s.t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	from := map[*lab.Netns][]explain.Outcome{s.n.Client: a.Outside, s.n.Netns: a.Localhost}
	if s.last != nil {
		from[s.last.Netns] = a.Pod
	}
	for ns, outs := range from {
		for _, o := range outs {
			if len(o.Unless) > 0 || len(o.From) > 0 || ns != s.n.Client && ns != s.n.Netns && o.Kind != "hostPort" {
				continue // it depends; a neighbour's answer does not come back through the node
			}
			for _, addr := range o.Addresses {
				to := netip.AddrPortFrom(netip.MustParseAddr(addr), a.Port)
				all.Go(func() {
					if got, want := ns.Who(a.Proto.String(), to.String()), served(o, servers); got != want {
						s.t.Errorf("%s to %s: explain says %q, and %q answers", a.Question, to, o.Gets, got)
					}
				})
			}
		}
	}
}

// served is the server behind an outcome.
func served(o explain.Outcome, servers map[string]string) string {
	for name, server := range servers {
		if strings.Contains(o.Gets, name) && !strings.HasPrefix(o.Gets, "nobody") {
			return server
		}
	}
	return answerer(o)
}

// closed wants explain to say that nobody answers at a port, and nobody to do so.
func (s *situation) closed(port string) {
	s.t.Helper()
	a := ask(s.t, s.n, port)
	s.sides(a, nil)
	for _, o := range a.Outside {
		if who := answerer(o); who != "" {
			s.t.Errorf("%s: explain says %q answers: %+v", port, who, o)
		}
	}
}
