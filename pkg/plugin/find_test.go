// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"testing"

	"github.com/portguard/portguard/pkg/conflict"
)

// The text of rules explains what was found natively, and frees only what was not
// certain: somebody's comment may mislead who reads it.
func TestTextDoesNotFreeWhatIsTaken(t *testing.T) {
	found := func(kinds ...conflict.Kind) (r conflict.Report) {
		for _, k := range kinds {
			r.Conflicts = append(r.Conflicts, conflict.Finding{Kind: k})
		}
		return r
	}
	for _, tt := range []struct {
		name         string
		native, text conflict.Report
		want         int // conflicts
	}{
		{"a rule that translates stays", found(conflict.NATRule), found(), 1},
		{"so does a NodePort, beside others", found(conflict.Undecodable, conflict.NodePort), found(), 2},
		{"what could not be decoded may be free", found(conflict.Undecodable), found(), 0},
		{"text that agrees says it better", found(conflict.Undecodable, conflict.NATRule), found(conflict.NATRule), 1},
		{"nothing is nothing", found(), found(), 0},
	} {
		if got := better(tt.native, tt.text); len(got.Conflicts) != tt.want {
			t.Errorf("%s: got %d conflicts, want %d", tt.name, len(got.Conflicts), tt.want)
		}
	}
}
