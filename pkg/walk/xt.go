// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"cmp"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// extension is a match or a target of xtables.
func (x *run) extension(th *thread, e nft.Expr) error {
	if e.Name == "match" {
		return x.xtMatch(th, e)
	}
	i := xt.InfoOf(e, !x.r.is4)
	if i.Name == "SET" {
		return x.notes(th, i)
	}
	x.xtTarget(th, i)
	return nil
}

// xtMatch answers for a match of xtables.
func (x *run) xtMatch(th *thread, e nft.Expr) error {
	i := xt.InfoOf(e, !x.r.is4)
	if i.Name == "socket" {
		x.socket(th)
		return nil
	}
	if i.Name == "recent" {
		x.recent(th, i)
		return nil
	}
	if met, ok := xt.ToHost(i); ok && x.arrives(th) {
		x.surely(th, met)
		return nil
	}
	if x.header(th, i) || x.number(th, i) {
		return nil
	}
	if freeModule(i.Name) {
		x.maybe(th, Some)
		return nil
	}
	opts, ok := xt.Match(i)
	if !ok {
		if slices.Contains([]string{"multiport", "tcp", "udp", "sctp", "set"}, i.Name) {
			x.hop.NamesPort = true
		}
		x.maybe(th, Unknown)
		return nil
	}
	if (i.Name == "conntrack" || i.Name == "connmark") && x.unconnected(th.b) {
		x.apply(th, test{always: withoutConnection(opts, x.state(th.b))})
		return nil
	}
	if (i.Name == "conntrack" || i.Name == "connmark") && x.templated(th.b) {
		x.ofTemplate(th, opts)
		return nil
	}
	x.r.ctMark = x.r.ctMark || i.Name == "connmark"
	if i.Name == "set" && len(opts) > 1 {
		return x.narrowedSet(th, opts)
	}
	if i.Name == "set" {
		if done, err := x.noted(th, opts[0]); done || err != nil {
			return err
		}
	}
	return x.options(th, opts)
}

// narrowedSet is a match on a set with conditions on what a member counts, or to which exceptions
// are what is in it (match_set in net/netfilter/xt_set.c negates the answer to all of that). Conditions
// some members meet, and nobody else; otherwise any packets may meet it, and others not.
func (x *run) narrowedSet(th *thread, opts []iptsave.Option) error {
	t, err := x.option(th.b.memory, opts[0], false)
	if opts[0].Not || slices.ContainsFunc(opts, func(o iptsave.Option) bool { return o.Name == "--return-nomatch" }) {
		x.maybe(th, Some)
		return err
	}
	first := len(x.next)
	x.apply(th, t)
	members := slices.Clone(x.next[first:])
	x.next = x.next[:first]
	for i := range members {
		x.maybe(&members[i], Some)
	}
	return err
}

// options splits a thread by one option after the other.
func (x *run) options(th *thread, opts []iptsave.Option) error {
	limited := slices.ContainsFunc(opts, func(o iptsave.Option) bool { return strings.HasPrefix(o.Name, "--limit-iface-") })
	first := len(x.next)
	x.stay(th)
	for _, o := range opts {
		if o.Name == "--comment" {
			for n := range x.next[first:] {
				x.next[first+n].comment = cmp.Or(x.next[first+n].comment, o.Value())
			}
			continue
		}
		t, err := x.option(th.b.memory, o, limited)
		if err != nil {
			return err
		}
		if o.Name == "--ctstate" && th.b.answered {
			t = test{always: stated(o, x.p.hasState(o, "ESTABLISHED"))}
		}
		threads := slices.Clone(x.next[first:])
		x.next = x.next[:first]
		for n := range threads {
			if o.Name == "--tcp-flags" && x.opens(&threads[n]) {
				x.surely(&threads[n], opening(o))
				continue
			}
			x.apply(&threads[n], t)
		}
	}
	return nil
}

// option answers for one option of iptables. Limited means that addrtype asks
// for one interface only, which the walk does not know.
func (x *run) option(m memory, o iptsave.Option, limited bool) (test, error) {
	switch o.Name {
	case "--dport", "--dports", "--ports", "--ctorigdstport":
		x.hop.NamesPort = x.hop.NamesPort || !o.Not
	}
	if o.Name == "--match-set" {
		return x.matchSet(m, o)
	}
	if c, ok := condition(o, x.p); ok {
		return testOn(c), nil
	}
	return optionTest(o, x.p, limited), nil
}

// xtTarget does what a target of xtables does. One that is not known may do anything,
// but only to the ports that the matches of the rule ask for.
func (x *run) xtTarget(th *thread, i xt.Info) {
	k, ok := targetKind(i.Name)
	switch {
	case x.header(th, i):
	case !ok:
		x.out(th, mayDoAnything, i.Name, "", false)
		x.stay(th)
	case i.Name == "HMARK":
		x.hashed(th, i)
	case xt.WritesMark(i):
		if i.Name != "CONNMARK" || !x.unconnected(th.b) {
			x.r.ctMark = x.r.ctMark || restores(i)
			th.b, th.altered = marked(th.b, i), true
		}
		x.stay(th)
	case i.Name == "NOTRACK", i.Name == "CT" && xt.Untracks(i):
		x.untrack(th)
	case i.Name == "CT":
		x.attach(th)
		x.stay(th)
	case i.Name == "SNPT", i.Name == "DNPT": // they write another network into an address (ip6t_NPT.c)
		x.prefix(th, i.Name == "SNPT")
	case i.Name == "TTL", i.Name == "HL", i.Name == "ECN":
		th.b.memory, th.altered = th.b.memory.onward(), true // nobody knows what they are now
		if i.Name != "ECN" && xt.Expires(i) {
			x.strand(th)
		}
		x.stay(th)
	case k == keepsOn:
		x.stay(th)
	case i.Name == "SNAT", i.Name == "MASQUERADE", i.Name == "NETMAP" && x.p.Hook == Postrouting:
		x.masks(th, i.Name)
	default:
		x.hop.To = xt.Destination(i)
		x.out(th, k, i.Name, "", false)
	}
}

// ofTemplate answers a match on the connection for packets with a template: it is new, and what
// else it has is not followed.
func (x *run) ofTemplate(th *thread, opts []iptsave.Option) {
	all := Yes
	for _, o := range opts {
		t := Some
		if o.Name == "--ctstate" {
			t = stated(o, yesIf(slices.Contains(strings.Split(o.Value(), ","), "NEW")))
		}
		if t == No {
			all = No
			break
		}
		all = weaker(all, t)
	}
	x.apply(th, test{always: all})
}

// prefix gives the source another network, or the destination, whatever it was in.
func (x *run) prefix(th *thread, src bool) {
	if src || x.p.Moved || x.p.Answer { // the latter are not on their way to the port
		th.b.src, th.altered = addrset.All(x.r.is4), true
		x.stay(th)
		return
	}
	x.out(th, translates, Rewrites, "", false)
}

// withoutConnection answers for the options of a match on the connection where there is
// none: only the state counts (net/netfilter/xt_conntrack.c, xt_connmark.c).
func withoutConnection(opts []iptsave.Option, state uint32) Tri {
	name := map[uint32]string{stateInvalid: "INVALID", stateUntracked: "UNTRACKED"}[state]
	for _, o := range opts {
		if o.Name == "--ctstate" {
			return stated(o, yesIf(slices.Contains(strings.Split(o.Value(), ","), name)))
		}
	}
	return No
}

// stated is an answer with the negation of an option.
func stated(o iptsave.Option, t Tri) Tri {
	if o.Not {
		return t.not()
	}
	return t
}

// targetKind knows the targets of xtables by name (the kernel's net/netfilter and
// net/ipv4/netfilter).
func targetKind(name string) (kind, bool) {
	switch name {
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SECMARK", "CONNSECMARK", "CLASSIFY",
		"TRACE", "SET", "TOS", "DSCP", "ECN", "TTL", "HL", "TCPMSS", "TCPOPTSTRIP", "CHECKSUM",
		"AUDIT", "IDLETIMER", "LED", "RATEEST", "TEE", "CT", "NOTRACK", "HMARK", "SNPT", "DNPT":
		return keepsOn, true
	case "DNAT", "REDIRECT", "NETMAP", "TPROXY":
		return translates, true
	case "ACCEPT", "DROP", "REJECT", "QUEUE", "NFQUEUE", "SNAT", "MASQUERADE":
		return ends, true
	case "RETURN":
		return returns, true
	}
	return keepsOn, false
}
