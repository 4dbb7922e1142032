// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
)

// page is docs/configuration.md; what it says is compared with the code.
func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rows are the rows of all tables of the page whose first heading is that one,
// by column.
func rows(t *testing.T, heading string) []map[string]string {
	t.Helper()
	var out []map[string]string
	var columns []string
	for line := range strings.Lines(page(t)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			columns = nil
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "\x00", "|")
		}
		switch {
		case columns == nil:
			columns = cells
		case columns[0] == heading && !strings.HasPrefix(cells[0], "---"):
			row := map[string]string{}
			for i, c := range columns {
				if i >= len(cells) {
					t.Fatalf("row %q has %d cells, not %d", line, len(cells), len(columns))
				}
				row[c] = cells[i]
			}
			out = append(out, row)
		}
	}
	if len(out) == 0 {
		t.Fatalf("the page has no table that begins with %q", heading)
	}
	return out
}

// code is what stands between backticks.
func code(cell string) string {
	if m := regexp.MustCompile("^`(.*)`$").FindStringSubmatch(cell); m != nil {
		return m[1]
	}
	return ""
}

// described maps the first column of a table to the type that the second names.
func described(t *testing.T, heading string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range rows(t, heading) {
		key := code(r[heading])
		if _, twice := out[key]; key == "" || twice {
			t.Errorf("row %q is there twice or is no key", r[heading])
		}
		out[key] = r["type"]
	}
	return out
}

// declared maps JSON keys to what the page calls their types.
func declared(types map[string]reflect.Type) map[string]string {
	out := map[string]string{}
	for key, f := range types {
		if f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		name := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer"}[f.Kind()]
		switch {
		case f == reflect.TypeFor[[]string]():
			name = "list of strings"
		case f == reflect.TypeFor[[]protected]():
			name = "list of ports"
		case f == reflect.TypeFor[[]json.RawMessage]():
			name = "list of objects"
		case name == "":
			name = "object"
		}
		out[key] = name
	}
	return out
}

// top are the types of the keys of the configuration, by key.
func top() map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, k := range new(wire).keys() {
		out[k.name] = reflect.TypeOf(k.to).Elem()
	}
	return out
}

// below are those of a struct.
func below[T any]() map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i, t := 0, reflect.TypeFor[T](); i < t.NumField(); i++ {
		out[t.Field(i).Tag.Get("json")] = t.Field(i).Type
	}
	return out
}

func TestPageHasEveryKey(t *testing.T) {
	for heading, types := range map[string]map[string]reflect.Type{"key": top(), "of runtimeConfig": below[runtime](), "field": below[portWire]()} {
		if diff := cmp.Diff(declared(types), described(t, heading)); diff != "" {
			t.Errorf("table %q, in the code (-) and in docs/configuration.md (+):\n%s", heading, diff)
		}
	}
}

// A key that is left out must mean what the page calls its default.
func TestPageHasTheDefaults(t *testing.T) {
	parse := func(in string) *Config {
		t.Helper()
		c, err := Parse([]byte(in))
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		return c
	}
	given := 0
	for _, r := range rows(t, "key") {
		key, def := code(r["key"]), r["default"]
		if def == "none" {
			continue
		}
		inputs := [][2]string{{`{}`, fmt.Sprintf(`{%q:%s}`, key, code(def))}}
		if other, ok := strings.CutPrefix(def, "as "); ok {
			inputs = nil
			for _, v := range []string{"true", "false"} {
				inputs = append(inputs, [2]string{fmt.Sprintf(`{%q:%s}`, code(other), v), fmt.Sprintf(`{%q:%s,%q:%s}`, code(other), v, key, v)})
			}
		}
		for _, in := range inputs {
			given++
			if diff := cmp.Diff(parse(in[0]), parse(in[1]), equal()); diff != "" {
				t.Errorf("%s is not %s (-left out +as on the page)\n%s", in[1], in[0], diff)
			}
		}
	}
	if given < 9 {
		t.Errorf("the page names only %d defaults", given)
	}
	for _, r := range rows(t, "field") {
		if def := code(r["default"]); def != "" {
			const in = `{"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":2%s}]}}`
			with := fmt.Sprintf(in, fmt.Sprintf(`,%q:%s`, code(r["field"]), def))
			if diff := cmp.Diff(parse(fmt.Sprintf(in, "")), parse(with), equal()); diff != "" {
				t.Errorf("%s (-left out +as on the page)\n%s", with, diff)
			}
		}
	}
}

// The errors on the page are those of the code, word for word.
func TestPageHasTheErrors(t *testing.T) {
	wrong := map[string]bool{}
	for _, r := range rows(t, "wrong value") {
		in, want := code(r["wrong value"]), code(r["error"])
		if strings.HasPrefix(in, `"hostPort"`) {
			in = `"runtimeConfig":{"portMappings":[{` + in + `}]}`
		}
		_, err := Parse([]byte("{" + in + "}"))
		if err == nil || err.Error() != want {
			t.Errorf("%s\n   is %v\non page %s", in, err, want)
			continue
		}
		field, _, _ := strings.Cut(want, ":")
		wrong[regexp.MustCompile(`\[\d+\]$`).ReplaceAllString(field, "")] = true
	}
	for _, key := range append(keysOf("", top()), keysOf("runtimeConfig.portMappings[0].", below[portWire]())...) {
		// libcni and skel read the first two; any object is a prevResult here.
		if !wrong[key] && !slices.Contains([]string{"cniVersion", "name", "prevResult"}, key) {
			t.Errorf("the page shows no wrong value of %s", key)
		}
	}
}

func keysOf(prefix string, types map[string]reflect.Type) []string {
	var out []string
	for k := range types {
		out = append(out, prefix+k)
	}
	return out
}

// Every example is read by libcni, if it is a list, and by Parse, and has no key
// that Parse would pass over.
func TestPageHasValidExamples(t *testing.T) {
	blocks := regexp.MustCompile("(?ms)^```json\n(.*?)^```").FindAllStringSubmatch(page(t), -1)
	if len(blocks) < 5 {
		t.Fatalf("the page has only %d examples", len(blocks))
	}
	for _, m := range blocks {
		conf := []byte(m[1])
		if strings.Contains(m[1], `"plugins"`) {
			list, err := libcni.ConfListFromBytes(conf)
			if err != nil {
				t.Errorf("%v\n%s", err, conf)
				continue
			}
			i := slices.IndexFunc(list.Plugins, func(p *libcni.PluginConfig) bool { return p.Network.Type == "portguard" })
			if i < 0 || !list.Plugins[i].Network.Capabilities["portMappings"] {
				t.Errorf("no portguard with the capability in\n%s", conf)
				continue
			}
			conf = list.Plugins[i].Bytes
		}
		if unknown := Unknown(conf); len(unknown) > 0 {
			t.Errorf("no such keys as %q\n%s", unknown, conf)
		}
		if _, err := Parse(conf); err != nil {
			t.Errorf("%v\n%s", err, conf)
		}
	}
}
