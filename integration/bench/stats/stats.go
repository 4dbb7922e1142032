// SPDX-License-Identifier: Apache-2.0

// Package stats sums up measurements.
package stats

import (
	"fmt"
	"slices"
)

// A Summary is what is reported of a series.
type Summary struct {
	N                        int
	Min, Q1, Median, Q3, Max float64
}

// Of sums up a series; of an empty one everything is 0.
func Of(series []float64) Summary {
	if len(series) == 0 {
		return Summary{}
	}
	s := slices.Clone(series)
	slices.Sort(s)
	return Summary{N: len(s), Min: s[0], Q1: quantile(s, 0.25), Median: quantile(s, 0.5), Q3: quantile(s, 0.75), Max: s[len(s)-1]}
}

// quantile interpolates between the two nearest values of a sorted series.
func quantile(s []float64, q float64) float64 {
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 == len(s) {
		return s[i]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// Ratio is a/b, 0 if b is.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Paired is the median of a[i]/b[i]: what makes one round slower than another does not
// count.
func Paired(a, b []float64) float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		out = append(out, Ratio(a[i], b[i]))
	}
	return Of(out).Median
}

// Figure prints a value with about three digits.
func Figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
