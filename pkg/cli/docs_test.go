// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/metrics"
	"github.com/portguard/portguard/pkg/state"
)

// section is what docs/commands.md says below a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/commands.md has no %q", heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	text, _, _ = strings.Cut(text, "\n"+level+" ")
	return text
}

// rows are the cells of the table whose first column has that name.
func rows(t *testing.T, text, first string) [][]string {
	t.Helper()
	_, table, found := strings.Cut(text, "\n| "+first+" |")
	if !found {
		t.Fatalf("there is no table of %ss in\n%s", first, text)
	}
	var out [][]string
	for n, line := range strings.Split(table, "\n") {
		if n > 0 && !strings.HasPrefix(line, "|") {
			break
		}
		if n > 1 {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			cells[0] = strings.Trim(cells[0], "`")
			out = append(out, cells)
		}
	}
	return out
}

// column is a table as a map from its first column to another.
func column(rows [][]string, n int) map[string]string {
	out := map[string]string{}
	for _, r := range rows {
		out[r[0]] = r[n]
	}
	return out
}

// documents are the JSON outputs. The structs here are in the code where a command
// writes them; the integration test holds real outputs against the page.
func documents() map[string]any {
	type version struct {
		Version int `json:"version"`
	}
	return map[string]any{
		"list": struct {
			version
			inventory.List
		}{},
		"explain": struct {
			version
			Answers []explain.Answer `json:"answers"`
		}{},
		"doctor": struct {
			version
			Fit      bool             `json:"fit"`
			Findings []doctor.Finding `json:"findings"`
		}{},
		"restore": struct {
			version
			Attachments []restored `json:"attachments"`
		}{},
		"gc": struct {
			version
			DryRun  bool     `json:"dryRun"`
			Removed []swept  `json:"removed"`
			Left    []unsure `json:"left"`
		}{},
		"metrics": metrics.Document{},
	}
}

// fields notes the type of every field below t, and whether it may be left out.
func fields(t reflect.Type, at string, types map[string]string, optional map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" {
			continue
		}
		if f.Anonymous && tag == "" {
			fields(f.Type, at, types, optional)
			continue
		}
		name, inner := at+tag, f.Type
		kind := kindOf(inner)
		if inner.Kind() == reflect.Slice {
			inner, kind = inner.Elem(), "array of "+kindOf(inner.Elem())+"s"
			name += "[]"
		}
		types[strings.TrimSuffix(name, "[]")] = kind
		optional[strings.TrimSuffix(name, "[]")] = strings.HasPrefix(options, "omit")
		if inner.Kind() == reflect.Struct && strings.Contains(kind, "object") {
			fields(inner, name+".", types, optional)
		}
	}
}

// kindOf is a type as JSON knows it.
func kindOf(t reflect.Type) string {
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return "string"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Int, reflect.Uint, reflect.Uint16, reflect.Uint64:
		return "number"
	default:
		return t.String()
	}
}

// Every field of every JSON output is documented with its type and whether it may be
// left out, and there is no other.
func TestDocumentedFields(t *testing.T) {
	docs := documents()
	for _, c := range commands() {
		types, optional := map[string]string{}, map[string]bool{}
		fields(reflect.TypeOf(docs[c.name]), "", types, optional)
		table := rows(t, section(t, "### JSON of "+c.name), "field")
		got := map[string]string{}
		for name, typ := range column(table, 1) {
			got[strings.Trim(name, "`")] = typ
		}
		if d := cmp.Diff(types, got); d != "" {
			t.Errorf("%s: in the code (-) and in docs/commands.md (+):\n%s", c.name, d)
		}
		for name, meaning := range column(table, 2) {
			if says := strings.Contains(meaning, "left out"); says != optional[name] {
				t.Errorf("%s: %s may be left out: %v; docs/commands.md: %s", c.name, name, optional[name], meaning)
			}
		}
	}
}

// Every flag is documented with its default, and there is no other.
func TestDocumentedFlags(t *testing.T) {
	common := rows(t, section(t, "## Flags of all commands"), "flag")
	for _, c := range commands() {
		var help bytes.Buffer
		if code := Run(nil, "", []string{c.name, "--help"}, &help, &help); code != OK {
			t.Fatalf("%s --help: exit code %d", c.name, code)
		}
		_, usage, _ := strings.Cut(help.String(), "\nFlags:\n")
		want := map[string]string{}
		for line := range strings.Lines(usage) {
			flag := regexp.MustCompile(`^ +(?:(-\w), )?(--[a-z-]+)`).FindStringSubmatch(line)
			def := regexp.MustCompile(`\(default "(.*)"\)`).FindStringSubmatch(line)
			want[strings.Trim(flag[1]+"`, `"+flag[2], "`, ")] = strings.Join(def[min(1, len(def)):], "")
		}
		text := section(t, "## portguard "+c.name)
		table := slices.Clone(common)
		if c.flags != nil {
			table = append(table, rows(t, text, "flag")...)
		} else if !strings.Contains(text, "Its flags are those of all commands.") && !strings.Contains(text, "Its flags are those of all\ncommands.") {
			t.Errorf("%s: docs/commands.md does not say which flags it has", c.name)
		}
		got := map[string]string{}
		for flag, def := range column(table, 1) {
			if strings.Contains(def, " ") { // what the configuration says
				def = ""
			}
			got[flag] = strings.Trim(def, "`")
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: in the code (-) and in docs/commands.md (+):\n%s", c.name, d)
		}
		if !strings.Contains(strings.Join(strings.Fields(text), " "), "Exit code 0") {
			t.Errorf("%s: docs/commands.md has no exit codes", c.name)
		}
	}
}

// Every kind of conflict is listed with its code.
func TestDocumentedKinds(t *testing.T) {
	want := map[string]string{}
	for _, row := range finding.Table() {
		want[row.Name] = fmt.Sprint(uint(row.Kind))
	}
	if d := cmp.Diff(want, column(rows(t, section(t, "## Kinds of conflicts"), "kind"), 1)); d != "" {
		t.Errorf("in the code (-) and in docs/commands.md (+):\n%s", d)
	}
}

// Every metric is listed with its type and labels.
func TestDocumentedMetrics(t *testing.T) {
	some := map[string]uint64{"listener": 1}
	doc := metrics.JSON(schema, "v1", inventory.List{HostPorts: []inventory.Entry{{}}, RefusedBinds: []inventory.Refusal{{}}}, []doctor.Finding{{}}, state.Counters{Refusals: some, Conflicts: some})
	want := map[string][]string{}
	for _, m := range doc.Metrics {
		labels := strings.Join(slices.Sorted(maps.Keys(m.Labels)), "`, `")
		if labels != "" {
			labels = "`" + labels + "`"
		}
		want[m.Name] = []string{m.Type, labels}
	}
	got := map[string][]string{}
	for _, r := range rows(t, section(t, "### Metrics"), "metric") {
		got[r[0]] = r[1:3]
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("in the code (-) and in docs/commands.md (+):\n%s", d)
	}
}

// The states of list are listed.
func TestDocumentedStates(t *testing.T) {
	got := slices.Sorted(maps.Keys(column(rows(t, section(t, "## portguard list"), "state"), 1)))
	want := []string{string(inventory.Closed), string(inventory.Missing), string(inventory.OK), string(inventory.Dead), string(inventory.Shadowed), string(inventory.Unknown), string(inventory.Waiting), string(inventory.Absent)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("in the code (-) and in docs/commands.md (+):\n%s", d)
	}
}
