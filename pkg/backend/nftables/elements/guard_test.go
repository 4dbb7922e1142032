// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/nfttable"
)

// What is written of links is read again, and a table without links is not there.
func TestLinks(t *testing.T) {
	user := func(id, pod string) localnet.User { return localnet.User{Tag: web(id).Owner.Tag(), Pod: addr(pod)} }
	want := map[string]localnet.Link{
		"cni0":            {Was: true, Users: []localnet.User{user("a", "10.88.0.5"), user("b", "10.88.0.6")}},
		"veth1.100":       {Users: []localnet.User{user("c", "10.88.0.7")}},
		"a15characters15": {},
	}
	table := WithLinks(GuardSpec().Absent(), want)
	compare := cmp.Comparer(func(x, y netip.Addr) bool { return x == y })
	if d := cmp.Diff(want, Links(table), compare); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	fewer := map[string]localnet.Link{"cni0": {Was: true, Users: want["cni0"].Users[:1], Broken: []string{"something"}}}
	if d := cmp.Diff([]localnet.User{user("a", "10.88.0.5")}, Links(WithLinks(table, fewer))["cni0"].Users, compare); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if left := WithLinks(table, nil); left.There {
		t.Error("a table without links is there")
	}
	if p := nfttable.Diff(table, WithLinks(table, Links(table))); !p.Empty() {
		t.Error("what was read changes something")
	}
}

// What is broken shows at each link; a link of which only users are known is not
// guarded.
func TestBrokenGuard(t *testing.T) {
	table := *WithLinks(GuardSpec().Absent(), map[string]localnet.Link{"cni0": {Users: []localnet.User{{Tag: web("a").Owner.Tag(), Pod: addr("10.88.0.5")}}}})
	table.Broken = []string{"chain gate"}
	if got := Links(&table)["cni0"].Broken; len(got) != 1 || got[0] != "table inet portguard-localnet: chain gate is not as installed" {
		t.Errorf("broken: %q", got)
	}
	if p := nfttable.Diff(&table, WithLinks(&table, Links(&table))); p.Empty() {
		t.Error("it is not mended")
	}
	flushed := table.Without(func(e nfttable.Element) bool { return e.Set == setGuarded })
	if got := Links(flushed); len(got) > 0 {
		t.Errorf("guarded: %v", got)
	}
	if left := WithLinks(flushed, nil); left.There {
		t.Error("users without a guard are left")
	}
}
