// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/listener"
	"github.com/portguard/portguard/pkg/rules"
)

// An Answer is what portguard says of one mapping.
type Answer struct {
	Mapping hostport.Mapping
	Taken   bool
	// Warned means that there is a warning.
	Warned bool
	Says   string
	// Rare means that it is refused only for packets that nobody sends here: what rules write
	// into later ones of a connection, or drop of them, and what has a mark that no rule sets.
	Rare bool
	// Dead means that it is refused only because rules drop what goes to the pod.
	Dead bool
	// Carves are addresses that the mapping leaves to those who listen there.
	Carves []hostport.Carve
	// Flows are those of the node's own that it leaves alone.
	Flows []hostport.Flow
}

// mappings are those the decision is asked for.
func mappings() []hostport.Mapping {
	var out []hostport.Mapping
	for _, f := range hostport.Families() {
		is4 := f == hostport.IPv4
		for _, proto := range []hostport.Proto{hostport.TCP, hostport.UDP} {
			m := hostport.Mapping{Family: f, Proto: proto, HostPort: port, ContainerPort: 80}
			out = append(out, m)
			hosts := nodeAddrs(is4)
			if is4 {
				hosts = append(hosts, loopback(true))
			}
			for _, a := range hosts {
				m.HostIP = a
				out = append(out, m)
			}
		}
	}
	return out
}

// Decide looks at the node as ADD does and asks for every mapping.
func (w *World) Decide(t lab.T) []Answer {
	t.Helper()
	var out []Answer
	var err error
	w.Node.Do(func() {
		var s conflict.Snapshot
		if s, err = w.snapshot(); err != nil {
			return
		}
		finder := conflict.NewFinder(s)
		for _, m := range mappings() {
			to := pod(m.Family)
			m.ContainerPort = to.Port()
			a := hostport.Attachment{Localhost: true, Mappings: []hostport.Mapping{m}, Pods: []netip.Prefix{netip.PrefixFrom(to.Addr(), to.Addr().BitLen())}}
			var r conflict.Report
			if r, err = finder.Find(a); err != nil {
				return
			}
			one := answer(m, r)
			one.Rare = one.Rare || one.Taken && w.behind // what others have translated is dropped, too
			out = append(out, one)
		}
	})
	if err != nil {
		t.Fatalf("decide: %v", err)
	}
	return out
}

func (w *World) snapshot() (conflict.Snapshot, error) {
	s := conflict.Snapshot{Sets: host.Sets{}}
	on, err := host.Addresses(nil)
	if err != nil {
		return s, err
	}
	s.Local = on.Local
	if err := w.listeners(&s); err != nil {
		return s, err
	}
	s.Rulesets, err = rules.New(rules.Options{Proc: "/proc", Local: on.Local, Mappings: mappings()}).Holders()
	return s, err
}

// listeners adds the sockets of a seed, without the server of all seeds.
func (w *World) listeners(s *conflict.Snapshot) (err error) {
	if len(w.sockets) == 0 {
		return nil
	}
	r := listener.New("")
	r.Patience = 0 // nobody asks whose they are
	if s.Flows, err = r.Flows(mappings()); err != nil {
		return err
	}
	s.Listeners, err = r.Read(mappings())
	s.Listeners = slices.DeleteFunc(s.Listeners, func(l hostport.Listener) bool { return w.server != nil && l.Proto == hostport.TCP })
	return err
}

func answer(m hostport.Mapping, r conflict.Report) Answer {
	a := Answer{Mapping: m, Taken: len(r.Conflicts) > 0, Warned: len(r.Warnings) > 0, Carves: r.Carves, Flows: r.Flows}
	var lines []string
	common := func(f conflict.Finding) bool {
		later := strings.Contains(f.Message, "[ payload write ") || strings.Contains(f.Message, "of later packets") ||
			strings.Contains(f.Message, "would not work") && (strings.Contains(f.Message, "[ match conntrack ]") || strings.Contains(f.Message, "[ ct load "))
		back := strings.Contains(f.Message, "of the pod's answers") // which does not answer here
		return !later && !back && !strings.Contains(f.Message, "with a mark that no rule sets")
	}
	a.Rare = a.Taken && !slices.ContainsFunc(r.Conflicts, common)
	a.Dead = a.Taken && !slices.ContainsFunc(r.Conflicts, func(f conflict.Finding) bool { return !strings.Contains(f.Message, "of its packets to the pod") })
	for _, f := range append(r.Conflicts, r.Warnings...) {
		lines = append(lines, f.Message)
	}
	a.Says = strings.Join(lines, "\n")
	return a
}

// covers reports whether the packet belongs to the mapping.
func (a Answer) covers(p Probe) bool {
	m := a.Mapping
	left := func(c hostport.Carve) bool {
		return c.Addr == p.Dst && c.Leaves(m) && (c.Link == "" || !p.FromNode && c.Link == p.Link)
	}
	if slices.ContainsFunc(a.Carves, left) {
		return false
	}
	if hostport.FamilyOf(p.Dst) != m.Family || p.UDP != (m.Proto == hostport.UDP) {
		return false
	}
	if m.Wildcard() {
		return p.Dst != netip.IPv6Loopback()
	}
	return m.HostIP == p.Dst
}

// A Verdict compares one answer with the kernel's.
type Verdict struct {
	Answer
	// Hit is a packet that the kernel translated or that a socket got, if any.
	Hit *Probe
	// Arrives is set if some packet got through untouched to where a mapping would be.
	Arrives bool
}

// FalseFree means that somebody has packets and we did not refuse: a warning does not count.
func (v Verdict) FalseFree() bool { return v.Hit != nil && !v.Taken }

// FalseTaken means that we refused, and the kernel translates no packet at all, and a
// mapping would work.
func (v Verdict) FalseTaken() bool { return v.Hit == nil && v.Taken && v.Arrives && !v.Rare }

// Unsent means the same for packets that nobody sends: those of this world are the first ones
// of their connections, mostly.
func (v Verdict) Unsent() bool { return v.Hit == nil && v.Taken && v.Arrives && v.Rare }

// String says what differs.
func (v Verdict) String() string {
	if v.FalseFree() {
		return fmt.Sprintf("false free: %s %s, but somebody has %s (sent to %s, a socket got it: %t); %s", v.Mapping.Family, v.Mapping, *v.Hit, v.Hit.To, v.Hit.Received, v.Says)
	}
	return fmt.Sprintf("false taken: %s %s: %s", v.Mapping.Family, v.Mapping, v.Says)
}

// Compare sets the answers against the packets that were translated.
func Compare(answers []Answer, sent []Probe) []Verdict {
	var out []Verdict
	for _, a := range answers {
		v := Verdict{Answer: a}
		for i, p := range sent {
			if !a.covers(p) {
				continue
			}
			// To a loopback address only the node itself gets.
			v.Arrives = v.Arrives || p.Seen && (!p.FromNode || a.Mapping.HostIP.IsLoopback())
			if v.Hit == nil && (p.Translated() || p.Received) {
				v.Hit = &sent[i]
			}
		}
		out = append(out, v)
	}
	return out
}
