// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/way"
)

// findings are the names of the checks in doctor's source, where nothing lists
// them, with the severities that stand beside them.
func findings(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("../doctor/*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, check := range way.Checks() { // and those with which ways end
		out[check] = nil
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		findingsIn(t, f, out)
	}
	return out
}

// findingsIn adds those of one file.
func findingsIn(t *testing.T, f *ast.File, out map[string][]string) {
	t.Helper()
	ast.Inspect(f, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if f, ok := c.Fun.(*ast.Ident); !ok || f.Name != "add" {
			return true
		}
		name, ok := c.Args[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		check, err := strconv.Unquote(name.Value)
		if err != nil {
			t.Fatal(err)
		}
		out[check] = append(out[check], strings.ToLower(c.Args[1].(*ast.Ident).Name))
		return true
	})
}

// Every check of doctor is listed with its severities.
func TestDocumentedChecks(t *testing.T) {
	want := findings(t)
	if len(want) < 10 {
		t.Fatalf("only %d checks are found in the source", len(want))
	}
	got := column(rows(t, section(t, "### Checks"), "check"), 1)
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
		t.Errorf("in the code (-) and in docs/commands.md (+):\n%s", d)
	}
	for check, severities := range want {
		for _, s := range severities {
			if s != "sev" && !slices.Contains(strings.Split(got[check], ", "), s) { // sev is a variable
				t.Errorf("%s may be a %s; docs/commands.md has %s", check, s, got[check])
			}
		}
	}
}
