// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/version"
)

// supported is the table of docs/support.md.
func supported(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(root + "docs/support.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			out[strings.TrimSpace(cells[1])] = []string{strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])}
		}
	}
	return out
}

// suite is this Debian: sid says which release it will be, and /etc/debian_version that it is sid.
func suite(t *testing.T) string {
	t.Helper()
	if b, err := os.ReadFile("/etc/debian_version"); err == nil && strings.HasSuffix(strings.TrimSpace(string(b)), "/sid") {
		return "sid"
	}
	b, err := os.ReadFile("/etc/os-release")
	m := regexp.MustCompile(`(?m)^VERSION_CODENAME="?(\w+)`).FindStringSubmatch(string(b))
	if err != nil || m == nil {
		t.Fatalf("which Debian this is, nobody says: %v", err)
	}
	return m[1]
}

// newer reports whether a version is another or a later one, as sort knows it.
func newer(t *testing.T, a, than string) bool {
	t.Helper()
	sort := exec.Command("sort", "-CV")
	sort.Stdin = strings.NewReader(than + "\n" + a + "\n")
	return sort.Run() == nil
}

// The tools that tests run with are those that the table names for this Debian. Those of
// sid may be newer: it moves.
func TestSupportedTools(t *testing.T) {
	table, here := supported(t), suite(t)
	for tool, ask := range map[string][]string{"nft": {"nft", "--version"}, "iptables": {"iptables-nft", "--version"}} {
		row := table[tool]
		if row == nil {
			t.Fatalf("docs/support.md has no row %q", tool)
		}
		says := regexp.MustCompile(`([\d.]+) \(` + here + `\)`).FindStringSubmatch(row[1])
		out, err := exec.Command(ask[0], ask[1:]...).Output()
		has := regexp.MustCompile(`v(\d+(?:\.\d+)+)`).FindStringSubmatch(string(out))
		if err != nil || says == nil || has == nil {
			t.Errorf("%s of %s: %q in docs/support.md, %q here: %v", tool, here, row[1], out, err)
			continue
		}
		if has[1] != says[1] && (here != "sid" || !newer(t, has[1], says[1])) {
			t.Errorf("%s of %s is %s, and docs/support.md says %s", tool, here, has[1], says[1])
		}
	}
}

// The other rows are what the code and go.mod say.
func TestSupportedVersions(t *testing.T) {
	table := supported(t)
	cni := regexp.MustCompile(`\d+\.\d+\.\d+`).FindAllString(table["CNI"][0], -1)
	if got, want := strings.Join(cni, " "), strings.Join(version.All.SupportedVersions(), " "); got != want {
		t.Errorf("CNI: docs/support.md says %s, the library %s", got, want)
	}
	mod, err := os.ReadFile(root + "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := table["Go, to build it"][0]; !strings.Contains(string(mod), "\ngo "+want+".") {
		t.Errorf("go.mod wants another Go than docs/support.md: %s", want)
	}
	for _, page := range []string{"README.md", "CONTRIBUTING.md"} {
		b, err := os.ReadFile(root + page)
		if err != nil || !strings.Contains(string(b), "Go "+table["Go, to build it"][0]+" or newer") {
			t.Errorf("%s does not say Go %s or newer: %v", page, table["Go, to build it"][0], err)
		}
	}
	if kernel := strings.Fields(table["Linux"][0])[0]; !strings.Contains(table["Linux"][0], "nftables") {
		t.Errorf("Linux: %s", table["Linux"][0])
	} else {
		for _, page := range []string{"docs/configuration.md", "docs/architecture.md", "docs/decisions/two-backends.md"} {
			if b, err := os.ReadFile(root + page); err != nil || !strings.Contains(string(b), "(Linux "+kernel+")") {
				t.Errorf("%s does not say Linux %s: %v", page, kernel, err)
			}
		}
	}
}
