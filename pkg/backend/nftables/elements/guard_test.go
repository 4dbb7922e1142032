// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/nfttable"
)

// What is written of links is read again, and a table without links is not there.
func TestLinks(t *testing.T) {
	user := func(id string) localnet.User { return localnet.User{Tag: web(id).Owner.Tag()} }
	want := map[string]localnet.Link{
		"cni0":            {Was: true, Users: []localnet.User{user("a"), user("b")}},
		"veth1.100":       {Users: []localnet.User{user("c")}},
		"a15characters15": {},
	}
	table := WithLinks(GuardSpec().Absent(), want)
	compare := cmpopts.SortSlices(func(x, y localnet.User) bool { return x.Tag < y.Tag })
	if d := cmp.Diff(want, Links(table), compare); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	fewer := map[string]localnet.Link{"cni0": {Was: true, Users: want["cni0"].Users[:1], Broken: []string{"something"}}}
	if d := cmp.Diff([]localnet.User{user("a")}, Links(WithLinks(table, fewer))["cni0"].Users, compare); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if left := WithLinks(table, nil); left.There {
		t.Error("a table without links is there")
	}
	if p := nfttable.Diff(table, WithLinks(table, Links(table))); !p.Empty() {
		t.Error("what was read changes something")
	}
}

// What is broken shows at each link. A link of which only users are left is told, and
// stays so until somebody knows what it was.
func TestBrokenGuard(t *testing.T) {
	table := *WithLinks(GuardSpec().Absent(), map[string]localnet.Link{"cni0": {Users: []localnet.User{{Tag: web("a").Owner.Tag()}}}})
	table.Broken = []string{"chain gate"}
	if got := Links(&table)["cni0"].Broken; len(got) != 1 || got[0] != "table inet portguard-localnet: chain gate is not as installed" {
		t.Errorf("broken: %q", got)
	}
	if p := nfttable.Diff(&table, WithLinks(&table, Links(&table))); p.Empty() {
		t.Error("it is not mended")
	}
	flushed := table.Without(func(e nfttable.Element) bool { return e.Set == setGuarded })
	got := Links(flushed)["cni0"]
	if !got.Lost || len(got.Users) != 1 || len(got.Broken) != 2 || got.Broken[1] != `table inet portguard-localnet: set guarded lacks the element "cni0"` {
		t.Errorf("flushed: %+v", got)
	}
	if d := cmp.Diff(got.Users, Links(WithLinks(flushed, Links(flushed)))["cni0"].Users, cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); d != "" {
		t.Error(d)
	}
	if left := WithLinks(flushed, nil); left.There {
		t.Error("users without a guard are left")
	}
}
