// SPDX-License-Identifier: Apache-2.0

package report

import "testing"

func TestPut(t *testing.T) {
	doc := "a\n<!-- bench x -->\nold\n<!-- end -->\nb\n<!-- bench y -->\n<!-- end -->\n"
	for _, tc := range []struct{ name, want string }{
		{"x", "a\n<!-- bench x -->\nnew\n<!-- end -->\nb\n<!-- bench y -->\n<!-- end -->\n"},
		{"y", "a\n<!-- bench x -->\nold\n<!-- end -->\nb\n<!-- bench y -->\nnew\n<!-- end -->\n"},
		{"z", ""},
	} {
		got, err := Put(doc, tc.name, "new\n")
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: %v\n%s", tc.name, err, got)
		}
	}
	if _, err := Put("<!-- bench x -->\n<!-- bench y -->\n<!-- end -->", "x", ""); err == nil {
		t.Error("a place without an end was not noticed")
	}
}

func TestTable(t *testing.T) {
	table := Table{Title: "T", Labels: 1, Head: []string{"", "µs"}}
	table.Add("long", "1")
	table.Add("x", "222")
	if got, want := table.Text(), "\nT\n\n        µs\n ----  ---\n long    1\n x     222\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got, want := table.Markdown(), "T:\n\n|      |  µs |\n| ---- | --: |\n| long |   1 |\n| x    | 222 |\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
