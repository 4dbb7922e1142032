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
	var out []Word
	var b strings.Builder
	quoted, inQuote, escaped, some := false, false, false, false
	flush := func() {
		if some {
			out = append(out, Word{text: b.String(), quoted: quoted})
		}
		b.Reset()
		quoted, some = false, false
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case escaped:
			b.WriteByte(c)
			escaped = false
		case inQuote && c == '\\':
			escaped = true
		case c == '"':
			inQuote = !inQuote
			quoted, some = true, true
		case !inQuote && (c == ' ' || c == '\t' || c == '\n'):
			flush()
		default:
			b.WriteByte(c)
			some = true
		}
	}
	flush()
	return out
}

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
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(s) + `"`
}

// Join writes arguments as one rule.
func Join(args ...string) string {
	q := make([]string, len(args))
	for i, a := range args {
		q[i] = Quote(a)
	}
	return strings.Join(q, " ")
}
