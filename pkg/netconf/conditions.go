// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/portguard/portguard/pkg/place"
)

// setConditions refuses what could end a rule or start another one in the text
// that iptables-restore or nft reads, and what is no match.
func (c *Config) setConditions(w *wire) error {
	for _, v := range []struct {
		field string
		words []string
		into  *[]string
	}{{"conditionsV4", w.ConditionsV4, &c.Template.ConditionsV4}, {"conditionsV6", w.ConditionsV6, &c.Template.ConditionsV6}} {
		if len(v.words) == 0 || len(v.words) == 1 && v.words[0] == "" {
			continue // portmap reads this as "no conditions"
		}
		// As in portmap: an iptables condition begins with an option or with "!",
		// one of nftables with neither.
		syntax := place.NFTables
		if first := v.words[0]; first != "" && (first[0] == '-' || first[0] == '!') {
			syntax = place.IPTables
		}
		size := 0
		for i, s := range v.words {
			p := problem(syntax, s)
			if p == "" && i == 0 && syntax == place.NFTables && isOperator(s) {
				p = "would change what stands before it; begin with what is compared"
			}
			if size += len(s) + 1; p == "" && size > maxConditions {
				p = fmt.Sprintf("is too much: all conditions together may have %d bytes", maxConditions)
			}
			if p != "" {
				return fieldErrorf(fmt.Sprintf("%s[%d]", v.field, i), "%q %s", s, p)
			}
		}
		if c.Backend != place.Auto && c.Backend != syntax {
			return fieldErrorf(v.field, `%q are in the syntax of %s and the backend is %q; write them for that or set "backend": "auto"`, v.words, syntax, c.Backend)
		}
		if c.Syntax != "" && c.Syntax != syntax {
			return fieldErrorf(v.field, "%q are in the syntax of %s and conditionsV4 in that of %s; use one", v.words, syntax, c.Syntax)
		}
		c.Syntax, *v.into = syntax, v.words
	}
	return nil
}

// maxConditions keeps a rule within the line that iptables-restore reads at once: what is
// beyond its 10,240 bytes it takes for another command.
const maxConditions = 2048

// problem says what is wrong with a word in one of the languages, "" if nothing.
func problem(syntax, s string) string {
	switch {
	case strings.Trim(s, " \t") == "":
		return "is empty; leave it out"
	case strings.ContainsAny(s, "\n\r\x00"):
		return "holds a line break or a NUL; give each word as one string"
	case syntax == place.NFTables && strings.Count(s, `"`)%2 != 0:
		return "holds a quote that does not close"
	case syntax == place.NFTables && strings.ContainsAny(unquoted(s), ";#\\"):
		return "holds one of ; # \\, which would end the rule"
	case syntax == place.NFTables && hasStatement(unquoted(s)), syntax == place.IPTables && isCommand(s):
		return "is not a match; conditions may only restrict which packets are mapped"
	}
	return ""
}

// unquoted is what nft reads of s outside of quotes, which nothing escapes.
func unquoted(s string) string {
	var out []string
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 0 {
			out = append(out, part)
		}
	}
	return strings.Join(out, " ")
}

// isOperator reports whether a word begins with an operator of nft, which would take our
// own match before it as its left side.
func isOperator(s string) bool {
	s = strings.TrimLeft(s, " \t")
	word := s
	if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) }); i >= 0 {
		word = s[:i]
	}
	switch word {
	case "":
		return s[0] != '@' && s[0] != '('
	case "and", "or", "xor", "lshift", "rshift":
		return true
	}
	return false
}

// hasStatement reports whether a word of nft holds a verdict or another statement.
func hasStatement(s string) bool {
	letters := func(r rune) bool { return r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for word := range strings.FieldsFuncSeq(s, letters) {
		switch word {
		case "accept", "drop", "reject", "queue", "continue", "return", "jump", "goto", "dnat", "snat", "masquerade",
			"redirect", "tproxy", "set", "add", "update", "delete", "meter", "synproxy", "notrack", "dup", "fwd", "comment", "vmap":
			return true
		}
	}
	return false
}

// isCommand reports whether a word is an option of iptables that is no match: a
// command, a target, the protocol that portguard sets itself. Long options may
// be shortened, short ones joined with their value, and -f, which has none, with
// another option.
func isCommand(s string) bool {
	if long, ok := strings.CutPrefix(s, "--"); ok {
		name, _, _ := strings.Cut(long, "=")
		for _, c := range []string{"append", "check", "delete", "insert", "replace", "list", "flush", "zero", "new-chain",
			"delete-chain", "rename-chain", "policy", "jump", "goto", "table", "wait-interval", "set-counters", "verbose", "numeric", "exact",
			"line-numbers", "modprobe", "ipv4", "ipv6", "version", "help", "protocol", "list-rules"} {
			// "--pol" is an option of the policy match.
			if name != "" && name != "pol" && strings.HasPrefix(c, name) {
				return true
			}
		}
		return false
	}
	return len(s) > 1 && s[0] == '-' && s != "-f" && !strings.ContainsRune("sdiom", rune(s[1]))
}
