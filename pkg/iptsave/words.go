// SPDX-License-Identifier: Apache-2.0

package iptsave

import "strings"

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
