// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"flag"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/portmap"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// A broken node has rules that nobody can read, no jumps, and chains that nobody can remove.
type broken struct{}

func (broken) Rules(string, nft.Table, string) ([]nft.Rule, error) { return nil, unix.EPERM }

// iptables lists nothing and removes nothing.
func (broken) iptables(_ iptables.Flavour, _ hostport.Family, args ...string) (string, error) {
	if slices.Contains(args, "-S") {
		return "", nil
	}
	return "", unix.EPERM
}

func TestMessages(t *testing.T) {
	m := golden.New(t)
	b := New(Options{Families: []hostport.Family{hostport.IPv4}, Open: func() Reader { return broken{} }, Batch: func(*nft.Batch) error { return unix.EPERM },
		Iptables: broken{}.iptables})
	m.Section("rules of portmap that cannot be read")
	_, err := b.Load()
	m.AddError("109", err)
	m.Section("rules of portmap that cannot be removed, or are gone for good")
	of := func(id string, p place, chains ...string) entry {
		o := hostport.Owner{Network: "net", ContainerID: id}
		return entry{Container: portmap.Container{Owner: o, Key: portmap.Key(o), Chains: chains, Rules: []nft.Rule{{Chain: "hostports", Handle: 1}}}, place: p}
	}
	legacy, native := place{flavour: iptables.Legacy, family: hostport.IPv4}, place{table: portmap.Tables()[0]}
	goes, stays, nativeStays := of("a", legacy), of("b", legacy, "CNI-DN-b"), of("c", native)
	for _, all := range [][]entry{{stays}, {goes, stays}, {nativeStays}, {goes, nativeStays}} {
		m.AddError("111", b.Apply(&State{all}, &State{}))
	}
	m.AddError("111", b.Apply(&State{}, &State{[]entry{goes}}))
	m.Check(*update)
}
