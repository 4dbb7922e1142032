// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/finding"
)

// Whatever an ADD fails with has a name that the metrics have from the start.
func TestReasonsAreKnown(t *testing.T) {
	codes := []uint{types.ErrTryAgainLater, types.ErrInvalidNetworkConfig, types.ErrIOFailure, CodeUnreadable, CodeApply}
	for _, row := range finding.Table() {
		codes = append(codes, uint(row.Kind))
	}
	got := []string{reason(errors.New("some other"))}
	for _, code := range codes {
		got = append(got, reason(types.NewError(code, "", "")))
	}
	for _, r := range got {
		if !slices.Contains(finding.Reasons(), r) {
			t.Errorf("finding.Reasons has no %q", r)
		}
	}
	for _, r := range finding.Reasons() {
		if !slices.Contains(got, r) {
			t.Errorf("no ADD fails with %q", r)
		}
	}
}
