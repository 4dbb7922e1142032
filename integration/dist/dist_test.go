// SPDX-License-Identifier: Apache-2.0

// Package dist builds the release tarballs, in two places, and looks into them.
package dist

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	version = "v1.2.3"
	date    = "2021-03-04T05:06:07Z"
)

// arches are DIST_ARCHES, or a small-endian and a big-endian one.
func arches() []string {
	if s := os.Getenv("DIST_ARCHES"); s != "" {
		return strings.Fields(s)
	}
	return []string{"amd64", "s390x"}
}

// environ is what the test has, without the outer make and with no git
// configuration but ours.
func environ(more ...string) []string {
	ours := []string{"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VERSION", "ARCHES", "PACKAGE_ARCHES", "DISTDIR",
		"BINDIR", "PREFIX", "UNITDIR", "ZSHDIR", "SOURCE_DATE_EPOCH", "PIE", "LDFLAGS"}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(ours, name)
	})
	return append(append(env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.org", "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.org", "GIT_COMMITTER_DATE="+date), more...)
}

// sh runs a script in a directory, at low priority: other tests measure time.
func sh(t *testing.T, dir, script string, env []string, as *syscall.SysProcAttr) string {
	t.Helper()
	// The shell changes directory: another user has the capabilities only after exec.
	cmd := exec.Command("nice", "-n", "19", "sh", "-eu", "-c", `cd "$0"; `+script, dir)
	cmd.Env, cmd.SysProcAttr = env, as
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// checkouts makes a repository of the sources as they are now, with a tag, and a
// clone of it.
func checkouts(t *testing.T) (first, second string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	first, second = filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "a", "longer", "second")
	sh(t, root, `mkdir "$FIRST"
		tar --exclude=./.git --exclude=./bin --exclude=./dist --exclude=.cache -cf - . | tar -C "$FIRST" -xf -
		cd "$FIRST"; git init -q; git add -A; git commit -qm test; git tag `+version+`
		git clone -q "$FIRST" "$SECOND"`, environ("FIRST="+first, "SECOND="+second), nil)
	return first, second
}

// stranger is another user, if there is a choice. The module cache stays in reach.
func stranger(t *testing.T, dirs ...string) *syscall.SysProcAttr {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, d := range dirs {
		// access(2), which git asks, knows no capabilities.
		sh(t, d, "chown -R 12345:12345 .; chmod 755 ..", environ(), nil)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345, NoSetGroups: true},
		AmbientCaps: []uintptr{unix.CAP_DAC_OVERRIDE}}
}

// Two builds are the same bytes: from another directory, by another user with
// another umask, time zone, locale and settings of Go, tar and gzip, without
// what the first one left in the cache, and at another time.
func TestDistTwice(t *testing.T) {
	first, second := checkouts(t)
	build := `make -s dist ARCHES="` + strings.Join(arches(), " ") + `"`
	sums := sh(t, first, "umask 022; "+build, environ("TZ=UTC"), nil)

	cache, home := t.TempDir(), t.TempDir()
	// The module cache is not in this home.
	modules := strings.TrimSpace(sh(t, first, "go env GOMODCACHE", environ(), nil))
	again := sh(t, second, "umask 077; "+build, environ("HOME="+home, "GOCACHE="+cache, "GOMODCACHE="+modules,
		"TZ=Asia/Kathmandu", "LC_ALL=C.UTF-8", "GOFLAGS=-buildvcs=false", "GOAMD64=v3", "TAR_OPTIONS=--mode=600"),
		stranger(t, filepath.Dir(filepath.Dir(filepath.Dir(second))), cache, home))
	if d := cmp.Diff(sums, again); d != "" {
		t.Errorf("the second build differs:\n%s", d)
	}
	for _, a := range arches() {
		name := "dist/portguard-linux-" + a + "-" + version + ".tgz"
		one, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(second, name))
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: the second build differs: %v", name, err)
		}
		binary := unpack(t, one)
		plugin(t, a, binary)
		sbom(t, filepath.Join(first, "dist/portguard-linux-"+a+"-"+version+".spdx.json"), binary)
	}
	sh(t, filepath.Join(first, "dist"), "sha256sum --quiet -c SHA256SUMS", environ(), nil)
	dirty(t, first)
	install(t, first)
	packages(t, first, second)
}

// unpack checks what is in a tarball, and returns the plugin.
func unpack(t *testing.T, tgz []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(tgz))
	if err != nil {
		t.Fatal(err)
	}
	if !z.ModTime.IsZero() || z.Name != "" {
		t.Errorf("gzip kept a time or a name: %v %q", z.ModTime, z.Name)
	}
	var names []string
	var binary, licenses []byte
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		member(t, h)
		if h.Name == "portguard" {
			if binary, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if h.Name == "portguard-doc/THIRD-PARTY-LICENSES" {
			if licenses, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		names = append(names, h.Name)
	}
	attributed(t, binary, string(licenses))
	if d := cmp.Diff(documents(t, "portguard-doc/"), names[1:]); names[0] != "portguard" || d != "" {
		t.Errorf("contents (-want +got), after %s:\n%s", names[0], d)
	}
	return binary
}

// member checks that a file is nobody's, and of the time of the commit.
func member(t *testing.T, h *tar.Header) {
	t.Helper()
	mode := int64(0o644)
	if h.Name == "portguard" || h.Typeflag == tar.TypeDir {
		mode = 0o755
	}
	when, err := time.Parse(time.RFC3339, date)
	if err != nil {
		t.Fatal(err)
	}
	if h.Mode != mode || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || !h.ModTime.Equal(when) {
		t.Errorf("%s: mode %o, owner %d:%d (%q:%q), time %v", h.Name, h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime)
	}
}

// plugin checks that it is a static program for the architecture.
func plugin(t *testing.T, arch string, b []byte) {
	t.Helper()
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "arm": elf.EM_ARM,
		"ppc64le": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s: %v", arch, err)
	}
	if f.Machine != machine[arch] || f.Type != elf.ET_EXEC || f.ByteOrder.String() == "BigEndian" != (arch == "s390x") {
		t.Errorf("%s: the plugin is %v %v %v", arch, f.Machine, f.Type, f.ByteOrder)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s: the plugin is not static: it has %v", arch, p.Type)
		}
	}
	if arch != runtime.GOARCH {
		return
	}
	path := filepath.Join(t.TempDir(), "portguard")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if out := sh(t, ".", path, environ(), nil); !strings.Contains(out, "CNI plugin portguard "+version+"\n") {
		t.Errorf("the plugin says %q", out)
	}
}

// dirty checks that a new file shows in the names, as it may be in the plugin.
func dirty(t *testing.T, dir string) {
	t.Helper()
	out := t.TempDir()
	sh(t, dir, "touch new; make -s dist ARCHES="+arches()[0]+" DISTDIR="+out+"; rm new", environ(), nil)
	if _, err := os.Stat(filepath.Join(out, "portguard-linux-"+arches()[0]+"-"+version+"-dirty.tgz")); err != nil {
		t.Error(err)
	}
}
