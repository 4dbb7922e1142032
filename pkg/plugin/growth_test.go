// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/place"
)

// A long source is a chain with many rules.
type long int

func (n long) Rules(_ nft.Table, chain string) ([]nft.Rule, error) {
	if chain != "long" {
		return nil, fs.ErrNotExist
	}
	return slices.Repeat([]nft.Rule{{Exprs: []nft.Expr{{Name: "log"}}}}, int(n)), nil
}

func (long) Set(nft.Table, string) (nft.Set, error)                     { return nft.Set{}, errors.New("no set") }
func (long) Lookup(nft.Set, []byte) (nft.Element, bool, error)          { return nft.Element{}, false, nil }
func (long) Elements(nft.Set) (elems []nft.Element, ok bool, err error) { return nil, false, nil }

// A decision that takes longer than others wait for the lock ends. It says what took so
// long, and nothing is changed.
func TestDecisionEndsInTime(t *testing.T) {
	b := newBench(t)
	c := nft.Chain{Table: nft.Table{Family: nft.Inet, Name: "t"}, Name: "long", Type: "filter", Hook: nft.Prerouting, Priority: -150}
	b.node.snap.Rulesets = []conflict.Ruleset{{Holder: conflict.Nftables, Chains: []nft.Chain{c}, Source: long(1000)}}
	now, step := time.Unix(0, 0), time.Second
	b.Now = func() time.Time { now = now.Add(step); return now }
	web := b.pod("web")
	err := b.add(web, 80, `,"lockTimeout":"5s"`)
	const want = `nftables inet t: the rules take too long to follow: they were asked 384 times so far (rules: 1000, chains: 1), last in chain long; remove rules, or set a longer "lockTimeout"`
	if code(err) != CodeUnreadable || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v", err)
	}
	b.wantIn(web)
	if len(b.node.log) > 0 || b.store.Has(web.key()) {
		t.Errorf("changed were %v", b.node.log)
	}
	unlock, err := b.store.Lock(0)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	step = time.Millisecond
	b.mustAdd(web, 80, `,"lockTimeout":"5s"`)
}

// What an attachment knows of the node's networks is of a size, however many there are.
func TestFewNetworks(t *testing.T) {
	b := newBench(t)
	for i := range 5000 {
		b.node.on.Networks = append(b.node.on.Networks, netip.MustParsePrefix(fmt.Sprintf("100.64.%d.%d/32", i>>8, i&255)))
	}
	web := b.pod("web")
	b.mustAdd(web, 80, "")
	rec, err := b.store.Load(web.key())
	if err != nil {
		t.Fatal(err)
	}
	if got := rec.Attachment.Networks; len(got) == 0 || len(got) > 16 {
		t.Errorf("%d networks", len(got))
	}
}

// However many attachments are put back, what should be is made as often.
func TestHealsAllAtOnce(t *testing.T) {
	made := func(lost int) (n int) {
		b := newBench(t)
		for i := range lost {
			b.mustAdd(b.pod(fmt.Sprint("pod", i)), 1000+i, "")
		}
		b.flush()
		b.in(place.NFTables).now.made = &n
		b.mustAdd(b.pod("next"), 80, "")
		if n := len(b.in(place.NFTables).now.has); n != lost+1 {
			t.Errorf("%d attachments are in place", n)
		}
		return n
	}
	if few, many := made(2), made(40); few != many || few == 0 {
		t.Errorf("%d States for 2 attachments, %d for 40", few, many)
	}
}

// Ports, claims and mappings are found by their number.
func TestManyMappings(t *testing.T) {
	var ms []hostport.Mapping
	var claims []hostport.Claim
	for i := range 60000 {
		m := hostport.Mapping{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: uint16(i + 1), ContainerPort: 80}
		ms, claims = append(ms, m), append(claims, hostport.Claim{Key: "other", Mapping: m, Life: hostport.Alive})
	}
	kept, left := leaveToOwners(hostport.Attachment{}, ms, claims[:1000], "nftables")
	if len(kept) != 59000 || len(left) != 1000 || !sameMappings(ms, ms) || sameMappings(ms, append(ms[1:len(ms):len(ms)], ms[1])) {
		t.Errorf("%d are kept, %d left", len(kept), len(left))
	}
}
