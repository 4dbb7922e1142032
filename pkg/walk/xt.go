// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"cmp"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// xtMatch answers for a match of xtables.
func (x *run) xtMatch(th thread, e nft.Expr) ([]thread, error) {
	i := xt.InfoOf(e, !x.r.is4)
	if i.Name == "socket" {
		return x.socket(th), nil
	}
	if freeModule(i.Name) {
		return x.maybe(th, Some), nil
	}
	opts, ok := xt.Match(i)
	if !ok {
		if slices.Contains([]string{"multiport", "tcp", "udp", "sctp", "set"}, i.Name) {
			x.hop.NamesPort = true
		}
		return x.maybe(th, Unknown), nil
	}
	if (i.Name == "conntrack" || i.Name == "connmark") && x.unconnected(th.b) {
		return x.apply(th, test{always: withoutConnection(opts, x.state(th.b))}), nil
	}
	limited := slices.ContainsFunc(opts, func(o iptsave.Option) bool { return strings.HasPrefix(o.Name, "--limit-iface-") })
	threads := []thread{th}
	for _, o := range opts {
		if o.Name == "--comment" {
			for n := range threads {
				threads[n].comment = cmp.Or(threads[n].comment, o.Value())
			}
			continue
		}
		t, err := x.option(o, limited)
		if err != nil {
			return nil, err
		}
		var next []thread
		for _, th := range threads {
			if o.Name == "--ctstate" && th.b.answered {
				t = test{always: hasState(o, "ESTABLISHED")}
			}
			next = append(next, x.apply(th, t)...)
		}
		threads = next
	}
	return threads, nil
}

// option answers for one option of iptables. Limited means that addrtype asks
// for one interface only, which the walk does not know.
func (x *run) option(o iptsave.Option, limited bool) (test, error) {
	switch o.Name {
	case "--dport", "--dports", "--ports", "--ctorigdstport", "--match-set":
		x.hop.NamesPort = x.hop.NamesPort || !o.Not
	}
	if o.Name == "--match-set" {
		return x.matchSet(o)
	}
	if c, ok := condition(o, x.r.is4); ok && !x.p.tuple(o) {
		return test{cond: &c}, nil
	}
	return optionTest(o, x.p, limited), nil
}

// xtTarget does what a target of xtables does. One that is not known may do anything,
// but only to the ports that the matches of the rule ask for.
func (x *run) xtTarget(th thread, e nft.Expr) []thread {
	i := xt.InfoOf(e, !x.r.is4)
	k, ok := targetKind(i.Name)
	switch {
	case !ok:
		x.out(th, mayDoAnything, i.Name, "", false)
		return x.stay(th)
	case i.Name == "MARK", i.Name == "CONNMARK", i.Name == "HMARK":
		if i.Name != "CONNMARK" || !x.unconnected(th.b) {
			th.b, th.altered = marked(th.b, i), true
		}
		return x.stay(th)
	case i.Name == "NOTRACK", i.Name == "CT" && xt.Untracks(i):
		return x.untrack(th)
	case k == keepsOn:
		return x.stay(th)
	}
	x.hop.To = xt.Destination(i)
	x.out(th, k, i.Name, "", false)
	return nil
}

// withoutConnection answers for the options of a match on the connection where there is
// none: only the state counts (net/netfilter/xt_conntrack.c, xt_connmark.c).
func withoutConnection(opts []iptsave.Option, state uint32) Tri {
	name := map[uint32]string{stateInvalid: "INVALID", stateUntracked: "UNTRACKED"}[state]
	for _, o := range opts {
		if o.Name == "--ctstate" {
			return hasState(o, name)
		}
	}
	return No
}

// hasState answers --ctstate for packets of one state.
func hasState(o iptsave.Option, name string) Tri {
	return yesIf(slices.Contains(strings.Split(o.Value(), ","), name) != o.Not)
}

// targetKind knows the targets of xtables by name (the kernel's net/netfilter and
// net/ipv4/netfilter).
func targetKind(name string) (kind, bool) {
	switch name {
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SECMARK", "CONNSECMARK", "CLASSIFY",
		"TRACE", "SET", "TOS", "DSCP", "ECN", "TTL", "HL", "TCPMSS", "TCPOPTSTRIP", "CHECKSUM",
		"AUDIT", "IDLETIMER", "LED", "RATEEST", "TEE", "CT", "NOTRACK", "HMARK":
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
