// SPDX-License-Identifier: Apache-2.0

package dist

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// documents are the names that a tarball has below a directory.
func documents(t *testing.T, at string) []string {
	t.Helper()
	names := map[string]bool{at: true}
	for _, name := range []string{"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "THIRD-PARTY-LICENSES"} {
		names[at+name] = true
	}
	for _, dir := range []string{"conflist", "deploy", "docs", "monitoring", "policies", "systemd"} {
		_ = filepath.WalkDir("../../"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) == ".go" || strings.HasPrefix(d.Name(), "go.") {
				return nil
			}
			for path = strings.TrimPrefix(path, "../../"); !names[at+path]; path = filepath.Dir(strings.TrimSuffix(path, "/")) + "/" {
				names[at+path] = true
			}
			return nil
		})
	}
	delete(names, at+"./")
	out := slices.Collect(maps.Keys(names))
	slices.SortFunc(out, func(a, b string) int {
		return slices.Compare(strings.Split(strings.TrimSuffix(a, "/"), "/"), strings.Split(strings.TrimSuffix(b, "/"), "/"))
	})
	return out
}

// attributed checks that every module that is linked in is named with its licence.
func attributed(t *testing.T, binary []byte, licenses string) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) < 3 || !strings.Contains(licenses, "Copyright 2009 The Go Authors") {
		t.Errorf("%d modules; licences:\n%s", len(info.Deps), licenses)
	}
	for _, m := range info.Deps {
		if !strings.Contains(licenses, "\n  "+m.Path+" "+m.Version+"  ") {
			t.Errorf("no licence of %s %s", m.Path, m.Version)
		}
	}
}

// sbom checks that the SBOM is that of the binary.
func sbom(t *testing.T, file string, binary []byte) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		SpdxVersion  string
		CreationInfo struct{ Created string }
		Packages     []struct {
			Name, SPDXID, VersionInfo, LicenseConcluded string
			Checksums                                   []struct{ ChecksumValue string }
		}
		Relationships []struct{ SpdxElementID, RelationshipType, RelatedSpdxElement string }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]string{}
	for _, p := range doc.Packages {
		has[p.Name] = p.VersionInfo
		if p.LicenseConcluded == "" || !slices.ContainsFunc(doc.Relationships, func(r struct{ SpdxElementID, RelationshipType, RelatedSpdxElement string }) bool {
			return r.RelatedSpdxElement == p.SPDXID
		}) {
			t.Errorf("%s has the licence %q, or nothing leads to it", p.Name, p.LicenseConcluded)
		}
	}
	for _, m := range info.Deps {
		if has[m.Path] != m.Version {
			t.Errorf("%s %s is there as %q", m.Path, m.Version, has[m.Path])
		}
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(binary)); len(has) != len(info.Deps)+2 || has["portguard"] != version ||
		"go"+has["std"] != info.GoVersion || doc.Packages[0].Checksums[0].ChecksumValue != want ||
		doc.SpdxVersion != "SPDX-2.3" || doc.CreationInfo.Created != date {
		t.Errorf("%d packages of %d modules; want checksum %s:\n%s", len(has), len(info.Deps), want, text)
	}
}
