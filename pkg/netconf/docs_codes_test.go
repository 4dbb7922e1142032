// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
)

// sources parses a package of ours; importing it here would be a cycle.
func sources(t *testing.T, pkg string) []*ast.File {
	t.Helper()
	names, _ := filepath.Glob("../" + pkg + "/*.go")
	var out []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// constants are the constants of a type in a package, by name with its prefix.
func constants(t *testing.T, pkg, typ string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, f := range sources(t, pkg) {
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if id, ok := s.Type.(*ast.Ident); !ok || id.Name != typ || len(s.Values) != len(s.Names) {
				return true
			}
			for i, name := range s.Names {
				lit, ok := s.Values[i].(*ast.BasicLit)
				if !ok {
					t.Errorf("%s.%s has no plain number", pkg, name.Name)
					continue
				}
				out[pkg+"."+name.Name] = lit.Value
			}
			return true
		})
	}
	return out
}

// Every code of ours and its number is on the page, and no other.
func TestPageHasTheCodes(t *testing.T) {
	want := constants(t, "finding", "Kind")
	if len(want) < 10 {
		t.Fatalf("found only %v", want)
	}
	got := map[string]string{}
	for _, r := range rows(t, "code") {
		got[code(r["constant"])] = r["code"]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the code (-) and in docs/configuration.md (+):\n%s", diff)
	}
}

// So is every code of CNI's that the plugin gives.
func TestPageHasTheCodesOfCNI(t *testing.T) {
	known := map[string]uint{
		"ErrIOFailure": types.ErrIOFailure, "ErrDecodingFailure": types.ErrDecodingFailure, "ErrInvalidNetworkConfig": types.ErrInvalidNetworkConfig,
		"ErrInvalidNetNS": types.ErrInvalidNetNS, "ErrTryAgainLater": types.ErrTryAgainLater, "ErrPluginNotAvailable": types.ErrPluginNotAvailable,
	}
	var used, documented []string
	for _, f := range sources(t, "plugin") {
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if ok && regexp.MustCompile("^Err[A-Z]").MatchString(s.Sel.Name) && isTypes(s.X) && !slices.Contains(used, s.Sel.Name) {
				used = append(used, s.Sel.Name)
			}
			return true
		})
	}
	for _, r := range rows(t, "code of CNI") {
		name := code(r["constant"])
		documented = append(documented, name)
		if n, ok := known[name]; !ok || r["code of CNI"] != strconv.Itoa(int(n)) {
			t.Errorf("%s is %d, the page says %s", name, n, r["code of CNI"])
		}
	}
	slices.Sort(used)
	slices.Sort(documented)
	if diff := cmp.Diff(used, documented); diff != "" {
		t.Errorf("in the code (-) and in docs/configuration.md (+):\n%s", diff)
	}
}

func isTypes(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == "types"
}
