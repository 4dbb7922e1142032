// SPDX-License-Identifier: Apache-2.0

package pkg_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// usesOf are the names that the files of a package use of the packages in partly,
// without constants.
func (g graph) usesOf(t *testing.T, n *node, constants map[string]map[string]bool) map[string][]string {
	t.Helper()
	uses := map[string][]string{}
	for _, f := range parse(t, n) {
		names := map[string]string{}
		for _, spec := range f.Imports {
			lib, _ := strconv.Unquote(spec.Path.Value)
			if _, ok := partly[lib]; !ok {
				continue
			}
			if constants[lib] == nil {
				constants[lib] = constantsOf(t, g[lib])
			}
			names[nameOf(spec, lib)] = lib
		}
		for x := range ast.Preorder(f) {
			sel, ok := x.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			id, ok := sel.X.(*ast.Ident)
			if !ok {
				continue
			}
			if lib := names[id.Name]; lib != "" && !constants[lib][sel.Sel.Name] {
				uses[lib] = append(uses[lib], sel.Sel.Name)
			}
		}
	}
	for lib, names := range uses {
		slices.Sort(names)
		uses[lib] = slices.Compact(names)
	}
	return uses
}

// nameOf is what a file calls a package that it imports. The last word of a path
// is its name for all in partly but CNI's types/100, which needs a name anyway.
func nameOf(spec *ast.ImportSpec, lib string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	return path.Base(lib)
}

// constantsOf are the names of a package's constants.
func constantsOf(t *testing.T, n *node) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, f := range parse(t, n) {
		for _, decl := range f.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.CONST {
				continue
			}
			for _, spec := range d.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					out[id.Name] = true
				}
			}
		}
	}
	return out
}

func parse(t *testing.T, n *node) []*ast.File {
	t.Helper()
	var out []*ast.File
	for _, name := range n.GoFiles {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(n.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}
