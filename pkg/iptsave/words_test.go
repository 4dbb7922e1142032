// SPDX-License-Identifier: Apache-2.0

package iptsave

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func texts(words []Word) []string {
	out := []string{}
	for _, w := range words {
		out = append(out, w.String())
	}
	return out
}

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"nothing is nothing", "", []string{}},
		{"blanks alone are nothing", " \t ", []string{}},
		{"blanks separate", "-p tcp  -j\tX ", []string{"-p", "tcp", "-j", "X"}},
		{"quotes join", `--comment "a b" -j X`, []string{"--comment", "a b", "-j", "X"}},
		{"an empty argument is one", `--comment "" -j`, []string{"--comment", "", "-j"}},
		{"a backslash within quotes takes the next", `"a\"b\\c\'d"`, []string{`a"b\c'd`}},
		{"a backslash without quotes is itself", `a\b`, []string{`a\b`}},
		{"an apostrophe is itself", `it's`, []string{"it's"}},
		{"a quote that closes ends the argument", `"a"b c"d"e`, []string{"a", "b", "cd", "e"}},
		{"links are printed as they are", `-i a"b -o "c ! --physdev-in \"`, []string{"-i", `a"b`, "-o", `"c`, "!", "--physdev-in", `\"`}},
		{"an open quote takes the rest", `"a b`, []string{"a b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, texts(Split(tt.in))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a plain word stays", "--dport", "--dport"},
		{"the empty word is quoted", "", `""`},
		{"a blank is quoted", "a b", `"a b"`},
		{"a tab is quoted", "a\tb", "\"a\tb\""},
		{"quotes are escaped", `dnat name: "n"`, `"dnat name: \"n\""`},
		{"a backslash is escaped", `a \`, `"a \\"`},
		{"a backslash without quotes is itself", `a\`, `a\`},
		{"an apostrophe is escaped as iptables-save does", `it's so`, `"it\'s so"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Quote(tt.in)
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if diff := cmp.Diff([]string{tt.in}, texts(Split(got))); diff != "" {
				t.Errorf("split again (-want +got)\n%s", diff)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	args := []string{"-m", "comment", "--comment", `a "b" \c`, "", "-j", "X"}
	text := Join(args...)
	if want := `-m comment --comment "a \"b\" \\c" "" -j X`; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if diff := cmp.Diff(args, texts(Split(text))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "a b", `"`, `\`, `\"`, `'`, "\t", "!", "-j", "a\n-F"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		text := Join(a, "x", b)
		a, b = strings.ReplaceAll(a, "\n", " "), strings.ReplaceAll(b, "\n", " ")
		if diff := cmp.Diff([]string{a, "x", b}, texts(Split(text))); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if lines, err := Lines(text); err != nil || len(lines) != 1 {
			t.Errorf("%q are %d lines, %v", text, len(lines), err)
		}
	})
}
