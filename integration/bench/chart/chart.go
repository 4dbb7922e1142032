// SPDX-License-Identifier: Apache-2.0

// Package chart draws grouped bars as SVG. A panel of its own colour lies under
// them, so that they can be read on any page.
package chart

import (
	"fmt"
	"html"
	"strings"

	"github.com/portguard/portguard/integration/bench/stats"
)

// A Chart has a bar for each series in each group: the median, with a line from
// the lowest to the highest value. They are costs: lower is better, and it says so.
type Chart struct {
	Title, X, Y string
	// Log chooses a logarithmic scale.
	Log bool
	// Groups are labels; a comma begins a new line.
	Groups []string
	Series []Series
}

// A Series is one colour. A value without measurements has no bar.
type Series struct {
	Name, Colour string
	Values       []stats.Summary
}

// The picture and the area of the bars in it, in pixels.
const (
	width, height            = 900, 456
	left, right, top, bottom = 76, 884, 100, 388
)

// The widest letter of the legend's font is this wide, nearly.
const letter = 7.2

// SVG is the picture.
func (c *Chart) SVG() string {
	s := c.scale()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="sans-serif" font-size="13" fill="#1f2328">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(c.Title))
	fmt.Fprintf(&b, `<rect x="0.5" y="0.5" width="%d" height="%d" rx="8" fill="#ffffff" stroke="#d0d7de"/>`+"\n", width-1, height-1)
	text(&b, left, 28, `font-size="16" font-weight="bold"`, c.Title)
	text(&b, right, 28, `text-anchor="end" fill="#57606a"`, "lower is better")
	c.legend(&b)
	c.axes(&b, s)
	for i := range c.Groups {
		c.group(&b, s, i)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func text(b *strings.Builder, x, y float64, attributes, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(s))
}

func (c *Chart) legend(b *strings.Builder) {
	x, y := float64(left), 44.0
	for _, s := range c.Series {
		long := 34 + letter*float64(len(s.Name))
		if x+long > right {
			x, y = left, y+20
		}
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", x, y, s.Colour)
		text(b, x+17, y+11, "", s.Name)
		x += long
	}
}

func (c *Chart) axes(b *strings.Builder, s scale) {
	for _, v := range s.ticks {
		y := s.at(v)
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#d0d7de"/>`+"\n", left, y, right, y)
		text(b, left-8, y+4, `text-anchor="end"`, fmt.Sprintf("%g", v))
	}
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#1f2328"/>`+"\n", left, bottom, right, bottom)
	text(b, (left+right)/2, bottom+60, `text-anchor="middle"`, c.X)
	middle := float64(top+bottom) / 2
	label := c.Y
	if s.log {
		label += ", logarithmic"
	}
	text(b, 22, middle, fmt.Sprintf(`text-anchor="middle" transform="rotate(-90 22 %.1f)"`, middle), label)
}

// group draws the bars of the i-th group.
func (c *Chart) group(b *strings.Builder, s scale, i int) {
	room := float64(right-left) / float64(len(c.Groups))
	wide := min(room*0.84/float64(len(c.Series)), 48)
	from := left + room*float64(i) + (room-wide*float64(len(c.Series)))/2
	for line, part := range strings.Split(c.Groups[i], ", ") {
		text(b, left+room*(float64(i)+0.5), bottom+20+16*float64(line), `text-anchor="middle"`, part)
	}
	for k, series := range c.Series {
		v := series.Values[i]
		if v.N == 0 {
			continue
		}
		x, y := from+wide*float64(k), s.at(v.Median)
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x+1, y, wide-2, bottom-y, series.Colour)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#1f2328"/>`+"\n", x+wide/2, s.at(v.Min), x+wide/2, s.at(v.Max))
		text(b, x+wide/2, s.at(v.Max)-4, `text-anchor="middle" font-size="10"`, stats.Figure(v.Median))
	}
}
