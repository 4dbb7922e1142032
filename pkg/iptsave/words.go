// SPDX-License-Identifier: Apache-2.0

package iptsave

import (
	"errors"
	"strings"
)

// A Word is one argument of a rule; quoted ones are never options.
type Word struct {
	text   string
	quoted bool
}

// String returns the argument without its quotes.
func (w Word) String() string { return w.text }

// isLink reports whether the word behind w is the name of a link, which iptables-save
// prints as it is: quotes in it are a part of it.
func (w Word) isLink() bool {
	switch w.text {
	case "-i", "-o", "--physdev-in", "--physdev-out":
		return !w.quoted
	}
	return false
}

// Split cuts a rule into arguments as add_param_to_argv in iptables'
// xshared.c does with what iptables-save writes: blanks separate, double quotes join, a backslash within
// quotes takes the next character as it is.
func Split(text string) []Word {
	out := make([]Word, 0, strings.Count(text, " ")+1)
	var w Word
	for i := 0; i < len(text); i++ {
		if blank(text[i]) {
			continue
		}
		w, i, _ = next(text, i, w.isLink())
		out = append(out, w)
	}
	return out
}

// next reads the argument that begins at i, which may be one without quotes, and tells
// where it ends: at a blank, or at the quote that closes. Open is set if there is none.
func next(text string, i int, plain bool) (w Word, end int, open bool) {
	n := i
	for n < len(text) && !blank(text[n]) && (plain || text[n] != '"') {
		n++
	}
	if n == len(text) || blank(text[n]) {
		return Word{text: text[i:n]}, n, false
	}
	var b strings.Builder
	b.WriteString(text[i:n])
	for n++; n < len(text); n++ {
		switch c := text[n]; {
		case c == '"':
			return Word{b.String(), true}, n, false
		case c == '\\' && n+1 < len(text):
			n++
			b.WriteByte(text[n])
		case c != '\\':
			b.WriteByte(c)
		}
	}
	return Word{b.String(), true}, n, true
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// Lines cuts text into lines as add_param_to_argv sees them: a line break within
// quotes belongs to the argument, such as a comment.
func Lines(text string) ([]string, error) {
	var out []string
	var w Word
	start, open := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '#' && i == start: // a comment of the tool's; quotes in it are text
			if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				i += n - 1
			} else {
				i = len(text)
			}
		case c == '\n':
			out, start, w = append(out, text[start:i]), i+1, Word{}
		case !blank(c):
			if w, i, open = next(text, i, w.isLink()); open {
				return nil, errOpenQuote
			}
			if i < len(text) && text[i] == '\n' {
				i-- // it is the line's
			}
		}
	}
	return append(out, text[start:]), nil
}

// errOpenQuote: where the argument ends nobody can tell.
var errOpenQuote = errors.New("a quote does not close")

// Nameable reports whether rules can match a link by its name, and that link alone. A "+"
// at the end stands for whatever follows, a quote comes back from iptables-save as it is,
// and some versions take what begins like an option for one.
func Nameable(link string) bool {
	return !strings.HasSuffix(link, "+") && !strings.Contains(link, `"`) && !strings.HasPrefix(link, "-") && !strings.HasPrefix(link, "!")
}

// Quote writes one argument so that Split and iptables-restore read it back. A line break
// cannot be written: it becomes a blank, so that a rule with one is not found and never
// becomes two.
func Quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n\"") {
		return s
	}
	for _, c := range [][2]string{{`\`, `\\`}, {`"`, `\"`}, {`'`, `\'`}, {"\n", " "}} {
		s = strings.ReplaceAll(s, c[0], c[1])
	}
	return `"` + s + `"`
}

// Join writes arguments as one rule.
func Join(args ...string) string {
	q := make([]string, len(args))
	for i, a := range args {
		q[i] = Quote(a)
	}
	return strings.Join(q, " ")
}
