// SPDX-License-Identifier: Apache-2.0

package iptsave

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrIncompatible means that iptables-nft could not show a table, because
// somebody put rules of native nftables into it. The tool says so in a comment
// and exits 0 (xtables-save.c), so only the text tells.
var ErrIncompatible = errors.New("it holds native nftables rules that iptables cannot show; move them to a table of their own")

// A Dump is all tables of one flavour and family.
type Dump struct {
	tables map[string]*Table
	// hidden are the tables that could not be shown.
	hidden []string
}

// A Table is one table of a Dump.
type Table struct {
	Name   string
	chains map[string]*Chain
	order  []string
}

// A Chain is a list of rules in the order in which the kernel asks them.
type Chain struct {
	Name string
	// Policy is ACCEPT or DROP for a base chain and "" for a user's chain.
	Policy string
	Rules  []Rule
}

// Table returns the named table, nil if it is not there, or ErrIncompatible if it is and
// was not shown.
func (d *Dump) Table(name string) (*Table, error) {
	if slices.Contains(d.hidden, name) {
		return nil, fmt.Errorf("table %s: %w", name, ErrIncompatible)
	}
	return d.tables[name], nil
}

// Chain returns the named chain, nil if it is not there. A nil table has none.
func (t *Table) Chain(name string) *Chain {
	if t == nil {
		return nil
	}
	return t.chains[name]
}

// Chains returns the chains in the order of the dump.
func (t *Table) Chains() []*Chain {
	if t == nil {
		return nil
	}
	out := make([]*Chain, 0, len(t.order))
	for _, n := range t.order {
		out = append(out, t.chains[n])
	}
	return out
}

// Parse reads the output of iptables-save. A dump that ends within a table, or
// a line that is none of the known kinds, is an error: what cannot be read must
// not count as free.
func Parse(text string) (*Dump, error) {
	d := &Dump{tables: map[string]*Table{}}
	var cur *Table
	all, err := Lines(text)
	if err != nil {
		return nil, err
	}
	for n, line := range all {
		line = strings.TrimRight(line, "\r\n")
		var err error
		switch {
		case line == "":
		case line[0] == '#':
			if name, ok := hiddenTable(line); ok {
				d.hidden = append(d.hidden, name)
			}
		case line[0] == '*' && cur == nil:
			cur = &Table{Name: line[1:], chains: map[string]*Chain{}}
			d.tables[cur.Name] = cur
		case cur == nil:
			err = errors.New("outside of a table")
		case line == "COMMIT":
			cur = nil
		default:
			err = cur.parseLine(line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w: %q", n+1, err, line)
		}
	}
	if cur != nil {
		return nil, fmt.Errorf("the list ends within table %s", cur.Name)
	}
	return d, nil
}

// hiddenTable reads "# Table `nat' is incompatible, use 'nft' tool.".
func hiddenTable(line string) (string, bool) {
	head, ok := strings.CutSuffix(line, "' is incompatible, use 'nft' tool.")
	_, name, quoted := strings.Cut(head, "`")
	return name, ok && quoted
}

func (t *Table) parseLine(line string) error {
	if line[0] == ':' {
		name, rest, ok := strings.Cut(line[1:], " ")
		if !ok || name == "" {
			return errors.New("chain without a policy")
		}
		policy, _, _ := strings.Cut(rest, " ")
		if policy == "-" {
			policy = ""
		}
		t.chains[name] = &Chain{Name: name, Policy: policy}
		t.order = append(t.order, name)
		return nil
	}
	body, ok := strings.CutPrefix(line, "-A ")
	if !ok {
		return errors.New("neither a chain nor a rule")
	}
	name, spec, _ := strings.Cut(body, " ")
	c := t.chains[name]
	if c == nil {
		return fmt.Errorf("rule in unknown chain %q", name)
	}
	c.Rules = append(c.Rules, Rule{Text: spec})
	return nil
}
