// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
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

// The scale ends where the values do, and begins a little below: no decade is empty.
func TestLogarithmic(t *testing.T) {
	for _, tt := range []struct{ low, high, from, to float64 }{{2.1, 1590, 1, 2000}, {6.3, 162, 5, 200}, {1, 1, 0.5, 1}, {10, 10.5, 5, 20}, {0.03, 0.2, 0.02, 0.2}} {
		s := logarithmic(tt.low, tt.high)
		if math.Abs(s.low-tt.from) > 1e-9 || math.Abs(s.top-tt.to) > 1e-9 || s.at(tt.low) >= bottom || s.at(tt.high) < top {
			t.Errorf("%g to %g: the scale is %g to %g, ticks %v", tt.low, tt.high, s.low, s.top, s.ticks)
		}
	}
}

// However many series there are, the legend is inside of the picture and above the bars.
func TestLegend(t *testing.T) {
	c := Chart{Groups: []string{"one"}}
	for _, name := range []string{"no-op", "portguard nftables", "portguard iptables", "portmap iptables", "portmap nftables", "portguard nftables, something else"} {
		c.Series = append(c.Series, Series{name, "#123456", []stats.Summary{stats.Of([]float64{1})}})
	}
	var b strings.Builder
	c.legend(&b)
	for _, m := range regexp.MustCompile(`<text x="([\d.]+)" y="([\d.]+)" >([^<]*)<`).FindAllStringSubmatch(b.String(), -1) {
		x, _ := strconv.ParseFloat(m[1], 64)
		y, _ := strconv.ParseFloat(m[2], 64)
		if x+letter*float64(len(m[3])) > right || y > top-16 {
			t.Errorf("%s is at %g, %g", m[3], x, y)
		}
	}
	if n := strings.Count(b.String(), "<text"); n != len(c.Series) {
		t.Errorf("%d keys", n)
	}
}
