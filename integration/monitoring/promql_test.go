// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// identifiers are the metrics and the labels in an expression of PromQL.
func identifiers(expr string) (metrics, labels []string) {
	word := regexp.MustCompile(`[A-Za-z_:][A-Za-z0-9_:]*`)
	take := func(pattern string) {
		expr = regexp.MustCompile(pattern).ReplaceAllStringFunc(expr, func(s string) string {
			_, inside, found := strings.Cut(s, "(")
			if !found {
				inside = s
			}
			labels = append(labels, word.FindAllString(inside, -1)...)
			return " "
		})
	}
	drop := func(pattern string) { expr = regexp.MustCompile(pattern).ReplaceAllString(expr, " ") }
	drop(`"[^"]*"`)
	take(`\{[^}]*\}`)
	take(`\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)`)
	drop(`\[[^]]*\]|\b[0-9]+[smhdwy]?\b`)
	drop(`[A-Za-z_]+ *\(`) // functions and aggregations
	drop(`\b(and|or|unless|offset|bool)\b`)
	return word.FindAllString(expr, -1), labels
}

func TestIdentifiers(t *testing.T) {
	m, l := identifiers(`sum by (a, b) (rate(up{c="x{y}", d=~"z"}[5m])) > 10 or (x:y unless x:y offset 15m) and ignoring (e) time() - max(vector(1))`)
	if !slices.Equal(m, []string{"up", "x:y", "x:y"}) || !slices.Equal(l, []string{"c", "d", "a", "b", "e"}) {
		t.Errorf("metrics %v, labels %v", m, l)
	}
}
