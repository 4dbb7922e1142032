// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// A file is replaced, whatever else has the name stays.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "a.prom"), filepath.Join(dir, "link")
	for _, text := range []string{"first", "second"} {
		if err := replace(file, text); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(file); string(b) != text || err != nil {
			t.Errorf("the file has %q, %v", b, err)
		}
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir} {
		before, _ := os.Lstat(path)
		err := replace(path, "x")
		if after, _ := os.Lstat(path); err == nil || after.Mode() != before.Mode() {
			t.Errorf("%s: %v", path, err)
		}
	}
}
