// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend/localnet"
	"github.com/portguard/portguard/pkg/nfttable"
)

// What is written of links is read again, and a table without links is not there.
func TestGuarded(t *testing.T) {
	want := map[string]localnet.Link{"cni0": {Was: true}, "veth1.100": {}, "a15characters15": {}}
	table := WithGuarded(GuardSpec().Absent(), want)
	if d := cmp.Diff(want, Guarded(table)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	fewer := map[string]localnet.Link{"cni0": {Was: true, Broken: []string{"something"}}}
	if d := cmp.Diff(map[string]localnet.Link{"cni0": {Was: true}}, Guarded(WithGuarded(table, fewer))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if left := WithGuarded(table, nil); left.There {
		t.Error("a table without links is there")
	}
	if p := nfttable.Diff(table, WithGuarded(table, Guarded(table))); !p.Empty() {
		t.Error("what was read changes something")
	}
}

// What is broken shows at each link, and is mended.
func TestBrokenGuard(t *testing.T) {
	table := *WithGuarded(GuardSpec().Absent(), map[string]localnet.Link{"cni0": {}})
	table.Broken = []string{"chain gate"}
	if got := Guarded(&table)["cni0"].Broken; len(got) != 1 || got[0] != "table inet portguard-localnet: chain gate is not as installed" {
		t.Errorf("broken: %q", got)
	}
	if p := nfttable.Diff(&table, WithGuarded(&table, Guarded(&table))); p.Empty() {
		t.Error("it is not mended")
	}
}

// The mappings tell who needs which link, whatever their shape.
func TestLinks(t *testing.T) {
	for name, a := range shapes() {
		got := absent().With(a).(*State).Links()
		if !a.Localhost {
			if len(got) > 0 {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		if keys := slices.Compact(got["cni0"]); len(got) != 1 || len(keys) != 1 || keys[0] != a.Owner.Key() {
			t.Errorf("%s: %v", name, got)
		}
	}
}
