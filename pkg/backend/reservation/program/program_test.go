// SPDX-License-Identifier: Apache-2.0

package program

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is compiled in is what bind.c says: by its digest, and by the compiler where the pinned
// one is installed.
func TestGenerated(t *testing.T) {
	source, err := os.ReadFile("bind.c")
	if err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("%x", sha256.Sum256(source))
	files, err := filepath.Glob("instructions_*.go")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "run", "./generate", "bind.c", dir)
	out, failed := cmd.CombinedOutput()
	_, missing := exec.LookPath("clang-16")
	if failed != nil && missing == nil {
		t.Errorf("%v: %s", failed, out)
	}
	for _, f := range files {
		is, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(is), digest) {
			t.Errorf("%s was made from another bind.c: run \"make generate\"", f)
		}
		if failed != nil {
			t.Logf("%s is not compiled anew: %s", f, bytes.TrimSpace(out))
			continue
		}
		if again, err := os.ReadFile(filepath.Join(dir, f)); err != nil || !bytes.Equal(is, again) {
			t.Errorf("%s differs from what the compiler makes (%v): run \"make generate\"", f, err)
		}
	}
}

// Only instructions that need a map are changed, each to its own.
func TestLink(t *testing.T) {
	for _, code := range []string{bind4, bind6, bind4NoPID, bind6NoPID} {
		linked, found := Link(code, [3]int{100, 101, 102}), map[uint32]int{}
		for i := 0; i < len(code); i += insnLen {
			if string(linked[i:i+insnLen]) == code[i:i+insnLen] {
				continue
			}
			index := binary.NativeEndian.Uint32([]byte(code[i+4:]))
			if fd := binary.NativeEndian.Uint32(linked[i+4:]); code[i] != loadMap || fd != 100+index {
				t.Errorf("instruction %d: map %d is file %d", i/insnLen, index, fd)
			}
			found[index]++
		}
		if len(found) != 3 {
			t.Errorf("maps are used: %v", found)
		}
	}
}

// The kernel keeps 15 characters.
func TestVersion(t *testing.T) {
	seen := map[string]bool{}
	for _, code := range []string{bind4, bind6, bind4NoPID, bind6NoPID} {
		v := Version(code)
		if len(v) > 15 || seen[v] {
			t.Errorf("version %q", v)
		}
		seen[v] = true
	}
}
