// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/bench/stats"
)

// The picture is well-formed, and nothing in it lies outside of the scale.
func TestSVG(t *testing.T) {
	for _, logarithmic := range []bool{false, true} {
		c := Chart{Title: "a < b", X: "x", Y: "ms", Log: logarithmic, Groups: []string{"one", "two"}, Series: []Series{
			{"s", "#000000", []stats.Summary{stats.Of([]float64{1, 2, 3}), {}}},
			{"t", "#ffffff", []stats.Summary{stats.Of([]float64{40, 50, 999}), stats.Of([]float64{0.3})}},
		}}
		svg := c.SVG()
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in\n%s", err, svg)
			}
		}
		if bars := strings.Count(svg, `fill="#000000"`) + strings.Count(svg, `fill="#ffffff"`); bars != 3+2+1 {
			t.Errorf("%d bars and keys:\n%s", bars, svg)
		}
		s := c.scale()
		for _, v := range []float64{0.3, 999} {
			if y := s.at(v); y < top || y > bottom {
				t.Errorf("%g is at %g", v, y)
			}
		}
	}
}
