// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"net/netip"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// A rule is decoded at most once, and only if somebody asks, however many Layouts have it.
type rule struct {
	// from is the rule as nf_tables has it, nil for one that is made of args.
	from    *nft.Rule
	family  hostport.Family
	setName func(index string) string
	args    []string

	to        string
	led       bool
	text      string
	spec      *iptsave.Spec
	inexact   bool
	canonical string
}

// newRule is a rule of ours that nobody has counted yet. Behind its target stands no "-j".
func newRule(args ...string) *rule {
	r := &rule{args: args}
	for i := len(args) - 2; i >= 0 && !r.led; i-- {
		if args[i] == "-j" {
			r.to, r.led = args[i+1], true
		}
	}
	return r
}

func (r *rule) decoded() iptsave.Spec {
	switch {
	case r.spec != nil:
	case r.from == nil:
		s := iptsave.Of(r.args...)
		r.spec = &s
	default:
		s, ok := xt.Spec(*r.from, r.family)
		for i, o := range s.Matches {
			if len(o.Values) == 0 || o.Value() == "" { // it is not said what of it
				ok = ok && (strings.HasPrefix(o.Name, "--limit-iface-") || o.Name == "--return-nomatch")
			}
			if o.Name == "--match-set" && len(o.Values) > 0 { // by its index
				name := r.setName(o.Value())
				s.Matches[i].Values = append([]string{name}, o.Values[1:]...)
				ok = ok && name != ""
			}
		}
		r.spec, r.inexact = &s, !ok
	}
	return *r.spec
}

// exact reports whether String is all of the rule.
func (r *rule) exact() bool {
	if r.from == nil {
		return true
	}
	r.decoded()
	return !r.inexact
}

// String is the text that iptables-save prints. An inexact rule begins with "? ", so it
// equals no real one.
func (r *rule) String() string {
	switch {
	case r.text != "":
	case r.from == nil:
		r.text = iptsave.Join(r.args...)
	default:
		r.text = r.decoded().Text()
		if r.inexact {
			r.text = "? " + r.text
		}
	}
	return r.text
}

// target is where a rule leads. Of thousands nothing else matters, so it is not decoded
// for that.
func (r *rule) target() string {
	if !r.led {
		r.to, r.led = r.leads(), true
	}
	return r.to
}

func (r *rule) leads() string {
	if r.from != nil {
		return xt.Target(*r.from)
	}
	return r.decoded().Target
}

// packets is how many have met the rule, -1 if nobody counts.
func (r *rule) packets() int64 {
	if r.from != nil {
		return xt.Packets(*r.from)
	}
	return -1
}

// same reports whether two rules say the same. iptables may print one in other words
// than it was given.
func (r *rule) same(o *rule) bool {
	return r == o || r.exact() == o.exact() && (r.String() == o.String() || r.normal() == o.normal())
}

func (r *rule) normal() string {
	if r.canonical == "" {
		r.canonical = r.decoded().Canonical()
	}
	return r.canonical
}

// source is what a rule compares the source with, all addresses if it does not.
func (r *rule) source(f hostport.Family) netip.Prefix {
	if r.from != nil {
		if p, ok := xt.Source(*r.from, f); ok {
			return p
		}
		return netip.PrefixFrom(f.Wildcard(), 0)
	}
	if o, ok := r.decoded().Option("-s"); ok {
		p, _ := netip.ParsePrefix(o.Value())
		return p
	}
	return netip.PrefixFrom(f.Wildcard(), 0)
}
