// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nfttable"
)

// GuardTable is that of the guard of route_localnet.
func GuardTable() nft.Table { return nft.Table{Family: nft.Inet, Name: "portguard-localnet"} }

const (
	setGuarded = "guarded"

	prioGuard = -150
	// prioGate is before every other translation: a nat chain must come behind
	// conntrack (-200).
	prioGate = -199
)

// GuardSpec is the table of the guard, as it always is. It keeps packets to and from
// 127.0.0.0/8 out of links with route_localnet, which lets in both (CVE-2020-8558). The
// gate is before every translation, and only new connections pass it. What is not new,
// or has no conntrack entry, is not translated to anywhere else. That reaches input, and
// packets for pods do not, so the drop there costs them nothing. At input an answer to the
// node itself, sent to another address of it, has been translated.
func GuardSpec() nfttable.Spec {
	f := info(hostport.IPv4)
	to, from := f.to(loopbackNet), f.from(loopbackNet)
	drop := one(meta(unix.NFT_META_IIFNAME, 0), inSet(setGuarded), verdict(nft.Drop, ""))
	return nfttable.Spec{
		Table: GuardTable(),
		Sets:  []nfttable.Set{{Name: setGuarded, Key: []nfttable.Type{nfttable.IfName}}},
		Chains: []nfttable.Chain{
			base(GuardTable(), "gate", "nat", nft.Prerouting, prioGate, [][]nft.Expr{rule(to, drop), rule(from, drop)}),
			base(GuardTable(), "guard", "filter", nft.Input, prioGuard, [][]nft.Expr{
				rule(from, drop), rule(to, translated(), one(verdict(nft.Return, ""))), rule(to, drop)}),
		},
	}
}

// guardComment is behind an element of the set guarded: it remembers whether the sysctl
// was on before.
const guardComment = "portguard: route_localnet was "

// Guarded reads a table of the guard.
func Guarded(t *nfttable.Table) map[string]localnet.Link {
	out := map[string]localnet.Link{}
	for e := range t.All() {
		out[nfttable.LinkOf([]byte(e.From))] = localnet.Link{Was: !strings.HasSuffix(e.Comment, " 0"), Broken: broken(t)}
	}
	return out
}

// WithGuarded returns a table of the guard that holds those links and no others.
func WithGuarded(t *nfttable.Table, links map[string]localnet.Link) *nfttable.Table {
	var want []nfttable.Element
	for name, l := range links {
		was := 0
		if l.Was {
			was = 1
		}
		want = append(want, nfttable.Element{Set: setGuarded, From: string(nfttable.LinkKey(name)), Comment: fmt.Sprint(guardComment, was)})
	}
	t = t.Without(func(e nfttable.Element) bool { return !slices.Contains(want, e) })
	if len(want) == 0 {
		return t
	}
	return t.With(want)
}
