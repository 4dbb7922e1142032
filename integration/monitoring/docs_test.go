// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// documented runs every command: docs/commands.md has each field of the outputs in
// the command's section.
func documented(t *testing.T, n *lab.Node, conf string) {
	doc, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"list"}, {"explain", "8081/tcp"}, {"explain", "22"}, {"doctor"}, {"metrics"}, {"gc", "--dry-run"}, {"restore"}, {"gc"}} {
		out, code := command(t, n, conf, append(args, "-o", "json")...)
		if code > 1 {
			t.Errorf("%v: exit code %d", args, code)
		}
		var v any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
			continue
		}
		_, section, _ := strings.Cut(string(doc), "\n## portguard "+args[0]+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		for _, p := range paths("", v) {
			if !strings.Contains(section, "\n| `"+p+"` |") {
				t.Errorf("docs/commands.md lacks %s of portguard %s", p, args[0])
			}
		}
		for _, m := range regexp.MustCompile("\n\\| `([a-zA-Z]+)` \\| (?:string|number|boolean|object|array) .*").FindAllStringSubmatch(section, -1) {
			if _, there := v.(map[string]any)[m[1]]; !there && !strings.Contains(m[0], "left out") {
				t.Errorf("portguard %s has no %s, which is in docs/commands.md", args[0], m[1])
			}
		}
	}
}

// paths are the fields of a document: "answers[].claimants[].who".
func paths(at string, v any) (out []string) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			out = append(out, paths(at+"[]", x)...)
		}
	case map[string]any:
		if at == "metrics[].labels" { // by the name of a metric's label
			break
		}
		for k, x := range v {
			p := strings.TrimPrefix(at+"."+k, ".")
			out = append(append(out, p), paths(p, x)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
