// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"encoding/binary"
	"fmt"
	"math"
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
	setGuarded   = "guarded"
	chainUnasked = "unasked"

	// prioGate is right behind conntrack (-200), before every translation.
	prioGate = -199
)

// GuardSpec is the table of the guard, as it always is. For everybody but the node itself
// a link with route_localnet is what it was without: nothing to or from 127.0.0.0/8 comes
// in, and nothing from there goes out (CVE-2020-8558). The gate looks at packets as they
// were sent, and the guard, behind everybody else's chains, at what they have become by
// then. What answers a connection that the node opened passes. A packet that conntrack
// does not know has no direction. In output a connection of the node to a hostPort is
// still on its way to lo.
func GuardSpec() nfttable.Spec {
	f := info(hostport.IPv4)
	to, from := f.to(loopbackNet), f.from(loopbackNet)
	by := func(link uint32, v nft.Expr) []nft.Expr { return one(meta(link, 0), inSet(setGuarded), v) }
	unasked := by(unix.NFT_META_IIF, verdict(nft.Jump, chainUnasked))
	in := [][]nft.Expr{rule(to, unasked), rule(from, unasked)}
	return nfttable.Spec{
		Table: GuardTable(),
		Sets:  []nfttable.Set{{Name: setGuarded, Key: []nfttable.Type{nfttable.IfIndex}}},
		Chains: []nfttable.Chain{
			{Chain: nft.Chain{Table: GuardTable(), Name: chainUnasked}, Rules: [][]nft.Expr{
				{ct(unix.NFT_CT_DIRECTION, 0), equal([]byte{1}), verdict(nft.Return, "")}, {verdict(nft.Drop, "")}}},
			base(GuardTable(), "gate", "filter", nft.Prerouting, prioGate, in),
			base(GuardTable(), "guard", "filter", nft.Input, math.MaxInt32, in),
			base(GuardTable(), "answers", "filter", nft.Output, math.MinInt32, [][]nft.Expr{rule(from, by(unix.NFT_META_OIF, verdict(nft.Drop, "")))}),
		},
	}
}

// Links are those of the node. A link keeps its index when it is renamed.
type Links interface {
	// Index and Name are 0 and "" where there is no such link.
	Index(name string) (int, error)
	Name(index int) (string, error)
}

// guardComment is before the name that a link had, behind an element of the set guarded.
const guardComment = "portguard: route_localnet of "

// Guarded reads a table of the guard. A link that is gone is called by the name it had.
func Guarded(t *nfttable.Table, links Links) (map[string]localnet.Link, error) {
	out := map[string]localnet.Link{}
	for e := range t.All() {
		name, stale, err := guardedLink(e, links)
		if err != nil {
			return nil, err
		}
		if _, known := out[name]; stale == "" || !known {
			l := localnet.Link{Broken: broken(t)}
			if stale != "" {
				l.Broken = append(l.Broken, stale)
			}
			out[name] = l
		}
	}
	return out, nil
}

// guardedLink is the link that e is for. It is stale if another one has its name by now.
func guardedLink(e nfttable.Element, links Links) (name, stale string, err error) {
	if name, err = links.Name(int(binary.NativeEndian.Uint32([]byte(e.From)))); name != "" || err != nil {
		return name, "", err
	}
	name = hostport.Unescape(strings.TrimPrefix(e.Comment, guardComment))
	if i, err := links.Index(name); i != 0 || err != nil {
		return name, fmt.Sprintf("the guard of %s is for an earlier link of that name", name), err
	}
	return name, "", nil
}

// WithGuarded returns a table of the guard that holds those links and no others. Links
// that are gone need none.
func WithGuarded(t *nfttable.Table, want map[string]localnet.Link, links Links) (*nfttable.Table, error) {
	var elements []nfttable.Element
	for name := range want {
		i, err := links.Index(name)
		if err != nil {
			return nil, err
		}
		if i != 0 {
			key := binary.NativeEndian.AppendUint32(nil, uint32(i))
			elements = append(elements, nfttable.Element{Set: setGuarded, From: string(key), Comment: guardComment + hostport.Escape(name)})
		}
	}
	t = t.Without(func(e nfttable.Element) bool { return !slices.Contains(elements, e) })
	if len(elements) == 0 {
		return t, nil
	}
	return t.With(elements), nil
}
