// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/cli"
)

var update = flag.Bool("update", false, "rewrite the files in packaging/")

const dir = "../../packaging/"

// What packages have is what the help says today.
func TestUpToDate(t *testing.T) {
	all := cli.Describe()
	files := map[string]string{"portguard.8": Man(all), "portguard.bash": Bash(all), "_portguard": Zsh(all), "portguard.fish": Fish(all)}
	for name, want := range files {
		if *update {
			if err := os.WriteFile(dir+name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(dir + name)
		if d := cmp.Diff(want, string(got)); err != nil || d != "" {
			t.Errorf("packaging/%s is not what \"make golden\" writes: %v\n%s", name, err, d)
		}
	}
}

// Every flag and every line of the help is on the page.
func TestManHasTheHelp(t *testing.T) {
	page := strings.NewReplacer(`\&`, "", `\-`, "-", `\e`, `\`).Replace(Man(cli.Describe()))
	for _, c := range cli.Describe() {
		for _, line := range append(strings.Split(c.Long, "\n"), c.Examples...) {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("%s: the page has no line %q", c.Name, line)
			}
		}
		for _, option := range typed(c) {
			if !strings.Contains(page, option) {
				t.Errorf("%s: the page has no %s", c.Name, option)
			}
		}
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{".x": `\&.x`, "'x": `\&'x`, `a-b\c`: `a\-b\ec`} {
		if got := roff(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// bash itself completes.
func TestBash(t *testing.T) {
	for words, want := range map[string]string{
		"":                   "list explain doctor restore gc metrics version help",
		"l":                  "list",
		"gc --d":             "--data-dir --dry-run",
		"list -o ":           "table json",
		"list --output j":    "json",
		"help me":            "metrics",
		"metrics --t":        "--textfile",
		"list --conf-dir /u": "/usr",
		"version -":          "",
	} {
		script := `compopt() { :; }; source ` + dir + `portguard.bash
			COMP_WORDS=(portguard "$@"); COMP_CWORD=$#; _portguard; echo "${COMPREPLY[*]}"`
		out, err := exec.Command("bash", append([]string{"-euc", script, "bash"}, strings.Split(words, " ")...)...).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", words, got, err, want)
		}
	}
}
