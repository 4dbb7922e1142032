// SPDX-License-Identifier: Apache-2.0

package iptsave

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readDump(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func dumps(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*-save")
	if err != nil || len(files) != 8 {
		t.Fatalf("%d dumps in testdata, want 8 (%v)", len(files), err)
	}
	return files
}

// shape writes a dump as iptables-save does, without comments and counters.
func shape(d *Dump, tables []string) string {
	var b strings.Builder
	for _, name := range tables {
		b.WriteString("*" + name + "\n")
		table, _ := d.Table(name)
		for _, c := range table.Chains() {
			policy := c.Policy
			if policy == "" {
				policy = "-"
			}
			b.WriteString(":" + c.Name + " " + policy + "\n")
		}
		for _, c := range table.Chains() {
			for _, r := range c.Rules {
				b.WriteString("-A " + c.Name + " " + r.Text + "\n")
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// Everything in kube-proxy's dumps is kept: written again they are the same.
func TestParseLosesNothing(t *testing.T) {
	for _, file := range dumps(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text := readDump(t, file)
			d, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			var tables []string
			var want strings.Builder
			for line := range strings.Lines(text) {
				switch line[0] {
				case '#':
					continue
				case '*':
					tables = append(tables, strings.TrimSpace(line[1:]))
				case ':':
					line = line[:strings.LastIndex(line, " ")] + "\n"
				}
				want.WriteString(line)
			}
			if diff := cmp.Diff(want.String(), shape(d, tables)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// Every rule of the dumps is decoded: its words come back in one order.
func TestSpecLosesNothing(t *testing.T) {
	for _, file := range dumps(t) {
		d, err := Parse(readDump(t, file))
		if err != nil {
			t.Fatal(err)
		}
		nat, _ := d.Table("nat")
		for _, c := range nat.Chains() {
			for _, r := range c.Rules {
				s := r.Spec()
				var words []string
				for _, o := range s.Matches {
					words = append(words, o.String())
				}
				if s.Target != "" {
					words = append(words, "-j "+s.Target)
				}
				for _, o := range s.TargetOptions {
					words = append(words, o.String())
				}
				got := texts(Split(strings.Join(words, " ")))
				if diff := cmp.Diff(texts(Split(r.Text)), got); diff != "" {
					t.Errorf("%s (-want +got)\n%s", r.Text, diff)
				}
			}
		}
	}
}

// A dump that ends anywhere but behind a COMMIT must not be taken for whole.
func TestParseRefusesTruncatedDumps(t *testing.T) {
	for _, file := range dumps(t) {
		lines := strings.SplitAfter(readDump(t, file), "\n")
		inside := false
		for i, line := range lines {
			switch {
			case strings.HasPrefix(line, "*"):
				inside = true
			case strings.HasPrefix(line, "COMMIT"):
				inside = false
			}
			_, err := Parse(strings.Join(lines[:i+1], ""))
			if (err != nil) != inside {
				t.Fatalf("%s cut after line %d: error is %v, want one: %v", file, i+1, err, inside)
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, in, says string }{
		{"a rule outside of a table", "-A X -j ACCEPT\n", "line 1: outside of a table"},
		{"a rule behind COMMIT", "*nat\nCOMMIT\n-A X\n", "line 3: outside of a table"},
		{"a rule of an unknown chain", "*nat\n-A X -j ACCEPT\nCOMMIT\n", `line 2: rule in unknown chain "X"`},
		{"a chain without a policy", "*nat\n:X\nCOMMIT\n", "line 2: chain without a policy"},
		{"a command", "*nat\n:X - [0:0]\n-D X -j ACCEPT\nCOMMIT\n", "line 3: neither a chain nor a rule"},
		{"a table within a table", "*nat\n*filter\nCOMMIT\n", "neither a chain nor a rule"},
		{"an error message of the tool", "iptables-save: Permission denied\n", "outside of a table"},
		{"a table without an end", "*nat\n:X - [0:0]\n", "ends within table nat"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
		})
	}
}

func TestIncompatibleTables(t *testing.T) {
	d, err := Parse("# Table `nat' is incompatible, use 'nft' tool.\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Table("nat"); !errors.Is(err, ErrIncompatible) {
		t.Errorf("error is %v, want ErrIncompatible", err)
	}
	if filter, err := d.Table("filter"); filter == nil || err != nil {
		t.Error(filter, err)
	}
}

// A word in the place of a value is one, whatever it looks like.
func TestValuesThatLookLikeOptions(t *testing.T) {
	s := Rule{Text: `-p tcp -m comment --comment -p -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80`}.Spec()
	if p, _ := s.Option("-p"); p.Value() != "tcp" || s.Comment() != "-p" || s.Target != "DNAT" {
		t.Errorf("got %+v", s)
	}
	if s := (Rule{Text: `-m comment --comment ! -j X`}).Spec(); s.Comment() != "!" || s.Target != "X" {
		t.Errorf("got %+v", s)
	}
}

// A line break within quotes does not end a rule: whoever writes comments could
// otherwise move a rule to another chain.
func TestParseJoinsQuotedLines(t *testing.T) {
	d, err := Parse("*nat\n# a quote \" of the tool's\n:PREROUTING ACCEPT [0:0]\n:X - [0:0]\n-A PREROUTING -m comment --comment \"a\n-A X \\\"b\nCOMMIT\\\\\" -j DNAT\nCOMMIT\n")
	if err != nil {
		t.Fatal(err)
	}
	nat, _ := d.Table("nat")
	rules := nat.Chain("PREROUTING").Rules
	if len(rules) != 1 || rules[0].Spec().Target != "DNAT" || rules[0].Spec().Comment() != "a\n-A X \"b\nCOMMIT\\" || len(nat.Chain("X").Rules) > 0 {
		t.Errorf("got %+v", rules)
	}
	for _, open := range []string{"*nat\n-A X --comment \"a\nCOMMIT\n", "*nat\nCOMMIT\n\"a\\"} {
		if _, err := Parse(open); err == nil {
			t.Errorf("%q was read", open)
		}
	}
}

// A quote in the name of a link, which the tool prints as it is, opens nothing.
func TestParseLinksWithQuotes(t *testing.T) {
	d, err := Parse("*nat\n:X - [0:0]\n-A X -i \";monitor# -m comment --comment \"a b\" -j DROP\n-A X ! -o a\"\n-A X -m physdev --physdev-in \"\\ -j DROP\nCOMMIT\n")
	if err != nil {
		t.Fatal(err)
	}
	nat, _ := d.Table("nat")
	rules := nat.Chain("X").Rules
	if in, _ := rules[0].Spec().Option("-i"); len(rules) != 3 || in.Value() != `";monitor#` || rules[0].Spec().Comment() != "a b" || rules[2].Spec().Target != "DROP" {
		t.Errorf("got %+v", rules)
	}
}

func TestAbsentTablesAndChainsAreNil(t *testing.T) {
	var none *Table
	if none.Chain("X") != nil || none.Chains() != nil {
		t.Error("a nil table has chains")
	}
	d, err := Parse("")
	if err != nil {
		t.Fatal(err)
	}
	if nat, err := d.Table("nat"); nat != nil || err != nil {
		t.Errorf("an empty dump has a table (%v)", err)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*-save")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("*nat\n:X - [0:0]\n-A X -j Y\nCOMMIT\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil {
			return
		}
		for _, table := range d.tables {
			for _, c := range table.Chains() {
				if table.Chain(c.Name) == nil {
					t.Errorf("chain %q is listed and cannot be found", c.Name)
				}
			}
		}
		if strings.Count(text, "\n-A ") > 0 && len(d.tables) == 0 {
			t.Error("rules were lost without an error")
		}
	})
}
