// SPDX-License-Identifier: Apache-2.0

// Package report prints tables, as text and into a document.
package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Table is one set of results. The first Labels columns are text, the others
// figures.
type Table struct {
	// Name is that of its place in the document.
	Name, Title string
	Labels      int
	Head        []string
	Rows        [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Text is the table for a terminal.
func (t *Table) Text() string { return "\n" + t.Title + "\n\n" + t.lines(" ", "  ", "") }

// Markdown is the table for a document.
func (t *Table) Markdown() string { return t.Title + ":\n\n" + t.lines("| ", " | ", " |") }

func (t *Table) lines(left, between, right string) string {
	width := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c), 2)
		}
	}
	var b strings.Builder
	line := func(row []string) {
		cells := make([]string, len(row))
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if cells[i] = pad + c; i < t.Labels {
				cells[i] = c + pad
			}
		}
		fmt.Fprintln(&b, strings.TrimRight(left+strings.Join(cells, between)+right, " "))
	}
	line(t.Head)
	rule := make([]string, len(t.Head))
	for i, w := range width {
		if rule[i] = strings.Repeat("-", w); right != "" && i >= t.Labels {
			rule[i] = strings.Repeat("-", w-1) + ":"
		}
	}
	line(rule)
	for _, row := range t.Rows {
		line(row)
	}
	return b.String()
}
