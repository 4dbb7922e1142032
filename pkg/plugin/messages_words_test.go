// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// speaking are the packages whose words a CNI call can print.
func speaking() []string {
	return []string{"backend", "backend/iptables", "backend/iptables/ruleset", "backend/localnet", "backend/nftables", "backend/nftables/elements", "backend/portmap",
		"conflict", "host", "hostport", "iptables", "iptsave", "legacy", "listener", "netconf", "nft", "nftconn", "nfttable", "place", "plugin", "portmap", "rules", "run", "state", "walk"}
}

// unprovoked are the words that no test can make the code say, with the reason.
func unprovoked() map[string]string {
	return map[string]string{
		"could not read the version of the kernel: %w": "uname(2) does not fail",
		"the kernel lacks what the backend needs":      "backend.ErrUnavailable, a mark: what has it says it in words of its own",
		"the list of the kernel does not end":          "needs a hundred thousand reads",
		"no answer from the kernel: %w":                "needs a kernel that is silent for a minute",
		"the set is too long":                          "Reader.Elements makes it a set that is not listed",
		"take the lock":                                "flock(2) on an open file fails only without kernel memory",
		"portmap for %s":                               "Finding.Who, for the tables of the command line",
	}
}

// Every message that the code can print is in a golden file.
func TestMessagesAreComplete(t *testing.T) {
	var lines []string
	files := goldens(t)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	excused, found := unprovoked(), 0
	for _, m := range messages(t) {
		found++
		said := slices.ContainsFunc(lines, regexp.MustCompile(pattern(m.text)).MatchString)
		_, known := excused[m.text]
		switch {
		case !said && !known:
			t.Errorf("%s: no golden file has %q: provoke it in a test, with -update", m.at, m.text)
		case said && known:
			t.Errorf("%s: %q is provoked and need not be excused", m.at, m.text)
		}
		if known && !said {
			excused[m.text] = ""
		}
	}
	for text, why := range excused {
		if why != "" {
			t.Errorf("%q is excused and in no source", text)
		}
	}
	if found < 150 {
		t.Errorf("only %d messages were found in the sources", found)
	}
}

// goldens are the files of all packages.
func goldens(t *testing.T) (files []string) {
	t.Helper()
	for _, depth := range []string{"../*", "../*/*", "../*/*/*"} {
		more, err := filepath.Glob(depth + "/testdata/messages.golden")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	if len(files) < 6 {
		t.Fatal(files)
	}
	return files
}

// pattern is a regular expression for what a format string prints.
func pattern(format string) string {
	verb := regexp.MustCompile(`%[-+# 0]*\d*(?:\.\d+)?[a-zA-Z]`)
	var b strings.Builder
	last := 0
	for _, at := range verb.FindAllStringIndex(format, -1) {
		b.WriteString(regexp.QuoteMeta(format[last:at[0]]) + ".*")
		last = at[1]
	}
	return b.String() + regexp.QuoteMeta(format[last:])
}

// A message is a format string in a source.
type message struct{ text, at string }

func messages(t *testing.T) (out []message) {
	t.Helper()
	for _, pkg := range speaking() {
		files, err := filepath.Glob("../" + pkg + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(pkg, err)
		}
		for _, f := range files {
			base := filepath.Base(f)
			if strings.HasSuffix(base, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, f, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			s := source{name: pkg + "/" + base, t: t}
			for _, d := range file.Decls {
				s.declaration(d)
			}
			for _, m := range s.found {
				out = append(out, message{m.text, pkg + "/" + base + ":" + strconv.Itoa(set.Position(m.pos).Line)})
			}
		}
	}
	return out
}

// A source collects the format strings of one file.
type source struct {
	name  string
	t     *testing.T
	found []struct {
		text string
		pos  token.Pos
	}
}

func (s *source) declaration(d ast.Decl) {
	name, all := "", false
	if f, ok := d.(*ast.FuncDecl); ok {
		// What such a function returns is said, whatever way it is put together.
		name = f.Name.Name
		all = slices.Contains([]string{"next", "Said", "Error", "conditionProblem", "iptablesProblem", "nftProblem", "compareChain", "taker", "Who", "insteadOf", "claimed", "Life", "unsure"}, name) ||
			strings.HasSuffix(s.name, "/check.go")
	}
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			s.call(n, name, all)
		case *ast.KeyValueExpr:
			if k, ok := n.Key.(*ast.Ident); ok && (k.Name == "Message" || k.Name == "Problem") {
				s.words(n.Value)
			}
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				if f, ok := l.(*ast.SelectorExpr); ok && f.Sel.Name == "Message" && i < len(n.Rhs) {
					s.words(n.Rhs[i])
				}
			}
		case *ast.ReturnStmt:
			for _, r := range n.Results {
				if all {
					s.words(r)
				}
			}
		}
		return true
	})
}

// call looks at who is given words to say.
func (s *source) call(c *ast.CallExpr, in string, all bool) {
	who := ""
	switch f := c.Fun.(type) {
	case *ast.Ident:
		who = f.Name
	case *ast.SelectorExpr:
		who = f.Sel.Name
		if x, ok := f.X.(*ast.Ident); ok {
			who = x.Name + "." + who
		}
	}
	if who == "types.NewError" && in != "newError" {
		s.t.Errorf("%s: %s makes an error past newError, which makes it one plain line", s.name, in)
	}
	first := map[string]int{"fmt.Errorf": 0, "errors.New": 0, "fieldErrorf": 1, "newError": 1, "configErrorf": 0, "dirError": 0, "malformed": 0}
	at, takes := first[who]
	switch {
	case takes:
		s.words(c.Args[at])
	case who == "fmt.Sprintf" && all:
		s.words(c.Args[0])
	case strings.HasSuffix(who, ".warn") || who == "append" && isList(c.Args[0]):
		for _, a := range c.Args {
			s.words(a)
		}
	}
}

// isList reports whether what is appended to is told to people.
func isList(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "lost"
	case *ast.SelectorExpr:
		return e.Sel.Name == "Notes" || e.Sel.Name == "Warnings"
	}
	return false
}

// words takes the literals of an expression: joined ones as one, and those of a
// Sprintf.
func (s *source) words(e ast.Expr) {
	if c, ok := e.(*ast.CallExpr); ok {
		if f, ok := c.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			s.words(c.Args[0])
		}
		return
	}
	if text := literal(e); strings.Trim(pattern(text), ".*: ") != "" {
		s.found = append(s.found, struct {
			text string
			pos  token.Pos
		}{text, e.Pos()})
	}
}

// literal is the text of an expression, with a verb for what is not text.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return ""
		}
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			return ""
		}
		return text
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return literal(e.X) + literal(e.Y)
		}
	}
	return "%s"
}
