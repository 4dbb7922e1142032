// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"slices"
	"testing"
)

// Codes and names are for programs: no two kinds may share one.
func TestCodesAndNamesAreUnique(t *testing.T) {
	codes, names := map[Kind]bool{}, map[string]bool{}
	for _, r := range slices.Concat(Table(), Errors()) {
		if codes[r.Kind] || names[r.Name] || r.Name == "" {
			t.Errorf("%d %q is there twice, or has no name", r.Kind, r.Name)
		}
		codes[r.Kind], names[r.Name] = true, true
		if r.Kind.String() != r.Name {
			t.Errorf("%d is called %q, want %q", r.Kind, r.Kind, r.Name)
		}
	}
	for code := Kind(100); code <= 114; code++ {
		if !codes[code] {
			t.Errorf("code %d is not in the table", code)
		}
	}
	if len(codes) != 15 {
		t.Errorf("%d codes: add the new ones to this test, docs/commands.md and docs/configuration.md", len(codes))
	}
}

// Who is told of a finding is told what to do.
func TestEveryFindingHasARemedy(t *testing.T) {
	for _, r := range Table() {
		if r.Remedy == "" {
			t.Errorf("%s has no remedy", r.Name)
		}
	}
}

func TestUnknownKind(t *testing.T) {
	if k := Kind(999); k.String() != "kind-999" || k.Translates() || k.Remedy() != "" {
		t.Errorf("got %q, %v, %q", k, k.Translates(), k.Remedy())
	}
}
