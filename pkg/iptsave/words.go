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

// Split cuts a rule into arguments as add_param_to_argv in iptables'
// xshared.c does with what iptables-save writes: blanks separate, double quotes join, a backslash within
// quotes takes the next character as it is.
func Split(text string) []Word {
	out := make([]Word, 0, strings.Count(text, " ")+1)
	for i := 0; i < len(text); i++ {
		if blank(text[i]) {
			continue
		}
		n := i
		for n < len(text) && !blank(text[n]) && text[n] != '"' {
			n++
		}
		if n == len(text) || blank(text[n]) { // most are plain
			out = append(out, Word{text: text[i:n]})
			i = n
			continue
		}
		w, end := quotedWord(text, i)
		out, i = append(out, w), end
	}
	return out
}

// quotedWord reads the argument that begins at i, with quotes in it, and tells where it
// ends.
func quotedWord(text string, i int) (w Word, end int) {
	var b strings.Builder
	inQuote, escaped := false, false
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case escaped:
			b.WriteByte(c)
			escaped = false
		case inQuote && c == '\\':
			escaped = true
		case c == '"':
			inQuote, w.quoted = !inQuote, true
		case !inQuote && blank(c):
			w.text = b.String()
			return w, i
		default:
			b.WriteByte(c)
		}
	}
	w.text = b.String()
	return w, i
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// Lines cuts text into lines as add_param_to_argv sees them: a line break within
// quotes belongs to the argument, such as a comment.
func Lines(text string) ([]string, error) {
	var out []string
	start, inQuote, escaped := 0, false, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case escaped:
			escaped = false
		case inQuote && c == '\\':
			escaped = true
		case c == '#' && i == start: // a comment of the tool's; quotes in it are text
			if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				i += n - 1
			} else {
				i = len(text)
			}
		case c == '"':
			inQuote = !inQuote
		case c == '\n' && !inQuote:
			out, start = append(out, text[start:i]), i+1
		}
	}
	if inQuote || escaped {
		return nil, errOpenQuote
	}
	return append(out, text[start:]), nil
}

// errOpenQuote: where the argument ends nobody can tell.
var errOpenQuote = errors.New("a quote does not close")

// Quote writes one argument so that Split and iptables-restore read it back.
// A line break cannot be written; callers refuse it before.
func Quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\"'\\") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := range len(s) {
		if strings.IndexByte("\\\"'", s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// Join writes arguments as one rule.
func Join(args ...string) string {
	q := make([]string, len(args))
	for i, a := range args {
		q[i] = Quote(a)
	}
	return strings.Join(q, " ")
}
