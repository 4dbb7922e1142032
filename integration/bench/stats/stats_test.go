// SPDX-License-Identifier: Apache-2.0

package stats

import "testing"

func TestOf(t *testing.T) {
	for _, tc := range []struct {
		series []float64
		want   Summary
	}{
		{nil, Summary{}},
		{[]float64{3}, Summary{1, 3, 3, 3, 3, 3}},
		{[]float64{4, 1, 3, 2}, Summary{4, 1, 1.75, 2.5, 3.25, 4}},
		{[]float64{5, 1, 4, 2, 3}, Summary{5, 1, 2, 3, 4, 5}},
	} {
		if got := Of(tc.series); got != tc.want {
			t.Errorf("Of(%v) = %+v, want %+v", tc.series, got, tc.want)
		}
	}
}

func TestPaired(t *testing.T) {
	if got := Paired([]float64{2, 30, 8}, []float64{1, 10, 2, 5}); got != 3 {
		t.Errorf("got %v, want 3", got)
	}
	if got := Paired(nil, []float64{1}); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}
