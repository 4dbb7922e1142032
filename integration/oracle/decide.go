// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/ruleset"
)

// An Answer is what portguard says of one mapping.
type Answer struct {
	Mapping hostport.Mapping
	// Native means that the rules of iptables-nft were not read as text.
	Native bool
	Taken  bool
	// Warned means that a rule that stays open was reported.
	Warned bool
	Says   string
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

// Decide looks at the node as ADD does and asks for every mapping: with the
// rules of iptables-nft read as text, and again as nf_tables has them.
func (w *World) Decide(t lab.T) []Answer {
	t.Helper()
	var out []Answer
	var err error
	w.Node.Do(func() {
		var s conflict.Snapshot
		if s, err = snapshot(); err != nil {
			return
		}
		for _, native := range []bool{false, true} {
			if native && !asNative(&s) {
				break
			}
			for _, m := range mappings() {
				a := hostport.Attachment{Localhost: true, Mappings: []hostport.Mapping{m}}
				var r conflict.Report
				if r, err = conflict.Find(a, s, ruleset.IsOurs); err != nil {
					return
				}
				out = append(out, answer(m, native, r))
			}
		}
	})
	if err != nil {
		t.Fatalf("decide: %v", err)
	}
	return out
}

// asNative leaves the rules of iptables-nft to be walked without their text. It
// reports whether there are any.
func asNative(s *conflict.Snapshot) (some bool) {
	for i, rs := range s.Rules {
		if rs.Flavour == string(iptables.NFT) {
			some = some || rs.Dump != nil
			s.Rules[i].Dump, s.Rules[i].Part = nil, true
		}
	}
	return some
}

func snapshot() (conflict.Snapshot, error) {
	var s conflict.Snapshot
	on, err := host.Addresses()
	if err != nil {
		return s, err
	}
	s.Local = on.Local
	reader := nftconn.NewReader()
	reader.Concerns = hostport.Concerns(on.Local, mappings())
	reader.Asked = hostport.Asked(mappings())
	s.NFT = reader
	if s.Native, err = reader.BaseChains(); err != nil {
		return s, err
	}
	t := &iptables.Tools{Proc: "/proc"}
	for _, fl := range iptables.Flavours() {
		for _, f := range hostport.Families() {
			d, err := t.Save(fl, f)
			if err != nil {
				return s, err
			}
			s.Rules = append(s.Rules, conflict.Rules{Flavour: string(fl), Family: f, Dump: d})
		}
	}
	return s, nil
}

func answer(m hostport.Mapping, native bool, r conflict.Report) Answer {
	a := Answer{Mapping: m, Native: native, Taken: len(r.Conflicts) > 0, Warned: len(r.Warnings) > 0}
	var lines []string
	for _, f := range append(r.Conflicts, r.Warnings...) {
		lines = append(lines, f.Message)
	}
	a.Says = strings.Join(lines, "\n")
	return a
}

// covers reports whether the packet belongs to the mapping.
func covers(m hostport.Mapping, p Probe) bool {
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
	// Hit is a packet that the kernel translated, if any.
	Hit *Probe
}

// FalseFree means that the kernel translates and we said nothing.
func (v Verdict) FalseFree() bool { return v.Hit != nil && !v.Taken && !v.Warned }

// FalseTaken means that we refused and the kernel translates no packet at all.
func (v Verdict) FalseTaken() bool { return v.Hit == nil && v.Taken }

// String says what differs.
func (v Verdict) String() string {
	if v.FalseFree() {
		return fmt.Sprintf("false free: %s %s, but the kernel translates %s", v.Mapping.Family, v.Mapping, *v.Hit)
	}
	return fmt.Sprintf("false taken: %s %s: %s", v.Mapping.Family, v.Mapping, v.Says)
}

// Compare sets the answers against the packets that were translated.
func Compare(answers []Answer, hits []Probe) []Verdict {
	var out []Verdict
	for _, a := range answers {
		v := Verdict{Answer: a}
		for i := range hits {
			if covers(a.Mapping, hits[i]) {
				v.Hit = &hits[i]
				break
			}
		}
		out = append(out, v)
	}
	return out
}
