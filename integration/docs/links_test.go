// SPDX-License-Identifier: Apache-2.0

// Package docs reads the documents as those do who follow their links.
package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../../"

// repository is what links to our own pages begin with.
const repository = "https://github.com/portguard/portguard/blob/main/"

// pages are all pages of the repository.
func pages(t *testing.T) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && slices.Contains([]string{".cache", ".git", "bin", "dist", "vendor"}, d.Name()):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			out = append(out, path)
		}
		return nil
	})
	if err != nil || len(out) < 30 {
		t.Fatalf("%d pages: %v", len(out), err)
	}
	return out
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	code    = regexp.MustCompile("`[^`\n]*`")
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	markup  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
)

// anchors are those that GitHub gives to the headings of a page.
func anchors(t *testing.T, file string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(string(b), ""), -1) {
		text := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1")
		out[strings.ReplaceAll(markup.ReplaceAllString(strings.ToLower(strings.TrimSpace(text)), ""), " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`<a id="([^"]+)">`).FindAllStringSubmatch(string(b), -1) {
		out[m[1]] = true
	}
	return out
}

// leads says what is wrong with a link on a page.
func leads(t *testing.T, from, to string) string {
	t.Helper()
	path, anchor, _ := strings.Cut(to, "#")
	file := from
	switch {
	case strings.HasPrefix(path, repository):
		file = root + strings.TrimPrefix(path, repository)
	case strings.Contains(path, "://"), strings.HasPrefix(path, "mailto:"):
		return ""
	case path != "":
		file = filepath.Join(filepath.Dir(from), path)
	}
	if _, err := os.Stat(file); err != nil {
		return err.Error()
	}
	if anchor != "" && !anchors(t, file)[anchor] {
		return file + " has no heading for #" + anchor
	}
	return ""
}

// Every link on a page leads to a file, and to a heading that is there.
func TestLinks(t *testing.T) {
	count := 0
	for _, page := range pages(t) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := code.ReplaceAllString(fence.ReplaceAllString(string(b), ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			count++
			if wrong := leads(t, page, m[1]+m[2]); wrong != "" {
				t.Errorf("%s: %s: %s", page, m[1]+m[2], wrong)
			}
		}
	}
	if count < 100 {
		t.Errorf("only %d links were found", count)
	}
}

// So does every link to the repository in what is installed: alerts, units, messages of packages.
func TestLinksFromOutside(t *testing.T) {
	count := 0
	for _, dir := range []string{"monitoring", "systemd", "packaging", "pkg", "plugins"} {
		err := filepath.WalkDir(root+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			for _, to := range regexp.MustCompile(regexp.QuoteMeta(repository)+`[A-Za-z0-9_./#-]*[A-Za-z0-9]`).FindAllString(string(b), -1) {
				count++
				if wrong := leads(t, path, to); wrong != "" {
					t.Errorf("%s: %s: %s", path, to, wrong)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if count < 5 {
		t.Errorf("only %d links were found", count)
	}
}

// A link that leads nowhere is found.
func TestLinksFind(t *testing.T) {
	for to, wrong := range map[string]bool{
		"support.md": false, "support.md#versions": false, "#what-portguard-runs-with": false, repository + "docs/support.md": false,
		"https://example.org/x": false, "suport.md": true, "support.md#version": true, "#nothing": true, repository + "docs/x.md": true,
	} {
		if got := leads(t, root+"docs/support.md", to); (got != "") != wrong {
			t.Errorf("%s: %q", to, got)
		}
	}
}

// In tarballs and packages the links of the pages lead to what is there, too.
func TestLinksOfTheInstalled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "doc")
	stage := exec.Command("sh", root+"scripts/stage-docs.sh", "LICENSE")
	stage.Env = append(os.Environ(), "DOCDIR="+dir)
	if out, err := stage.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	count := 0
	err := filepath.WalkDir(dir, func(page string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(page) != ".md" {
			return err
		}
		b, err := os.ReadFile(page)
		text := code.ReplaceAllString(fence.ReplaceAllString(string(b), ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			count++
			if wrong := leads(t, page, m[1]+m[2]); wrong != "" {
				t.Errorf("%s: %s", m[1]+m[2], wrong)
			}
		}
		return err
	})
	if err != nil || count < 100 {
		t.Errorf("%d links: %v", count, err)
	}
}
