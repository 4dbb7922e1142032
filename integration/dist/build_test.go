// SPDX-License-Identifier: Apache-2.0

package dist

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// installed is what "make install" puts below /usr/local, with modes.
const installed = `./opt/cni/bin/portguard 755
./usr/local/bin/portguard 777
./usr/local/lib/systemd/system/portguard-metrics.service 644
./usr/local/lib/systemd/system/portguard-metrics.timer 644
./usr/local/lib/systemd/system/portguard-restore.service 644
./usr/local/share/bash-completion/completions/portguard 644
./usr/local/share/fish/vendor_completions.d/portguard.fish 644
./usr/local/share/man/man8/portguard.8 644
./usr/local/share/zsh/site-functions/_portguard 644
`

// install checks what is installed, also into a runtime's other directory.
func install(t *testing.T, dir string) {
	t.Helper()
	dest := t.TempDir()
	const files = "find . ! -type d ! -path './usr/*/doc/*' -printf '%p %m\\n' | LC_ALL=C sort"
	sh(t, dir, "umask 077; make -s install DESTDIR="+dest, environ(), nil)
	if d := cmp.Diff(installed, sh(t, dest, files, environ(), nil)); d != "" {
		t.Errorf("installed (-want +got):\n%s", d)
	}
	for _, name := range documents(t, "") {
		if _, err := os.Stat(filepath.Join(dest, "usr/local/share/doc/portguard", name)); err != nil {
			t.Error(err)
		}
	}
	sh(t, dir, "make -s install BINDIR=/usr/libexec/cni PREFIX=/usr DESTDIR="+dest+"/other", environ(), nil)
	const paths = "readlink usr/bin/portguard; grep -ho '[^=-]*/portguard \\(restore\\|metrics\\)' usr/lib/systemd/system/*"
	if got, want := sh(t, dest+"/other", paths, environ(), nil), "/usr/libexec/cni/portguard\n/usr/libexec/cni/portguard metrics\n"+
		"/usr/libexec/cni/portguard restore\n/usr/libexec/cni/portguard restore\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// plain is the tree without git.
func plain(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "portguard")
	sh(t, "../..", `mkdir "$DIR"; git ls-files -z --cached --others --exclude-standard |
		tar --create --null --files-from=- --ignore-failed-read --file=- 2>/dev/null | tar --extract --directory="$DIR"`, environ("DIR="+dir), nil)
	return dir
}

// Without git the version is that of the changelog or what is given; LDFLAGS and PIE are
// what is given, and not those of the environment, which has the C linker's.
func TestBuildWithoutGit(t *testing.T) {
	dir := plain(t)
	if got := sh(t, dir, "sh scripts/version.sh", environ("GIT_CEILING_DIRECTORIES=/"), nil); !strings.HasPrefix(got, "v0.") {
		t.Errorf("the version is %q", got)
	}
	for _, tt := range []struct {
		args, version string
		kind          elf.Type
		symbols       bool
	}{
		{"", "", elf.ET_EXEC, false},
		{"VERSION=v9.8.7 PIE=1 LDFLAGS=", "v9.8.7", elf.ET_DYN, true},
	} {
		if !everything() && tt.kind == elf.ET_DYN { // it compiles Go's library
			continue
		}
		out := sh(t, dir, "make -s build "+tt.args+"; bin/portguard version", environ("LDFLAGS=-Wl,-z,relro"), nil)
		f, err := elf.Open(filepath.Join(dir, "bin/portguard"))
		if err != nil {
			t.Fatal(err)
		}
		want := tt.version
		if want == "" {
			want = strings.TrimSpace(sh(t, dir, "sh scripts/version.sh", environ(), nil))
		}
		if out != "portguard "+want+"\n" || f.Type != tt.kind || (f.Section(".symtab") != nil) != tt.symbols {
			t.Errorf("make build %s: %q, %v, symbols: %v", tt.args, out, f.Type, f.Section(".symtab") != nil)
		}
		_ = f.Close()
	}
}

// What "go mod vendor" writes is enough to build and to install, without a network and
// without a module cache. With everything it is enough for a tarball of another machine, too.
func TestVendor(t *testing.T) {
	dir := plain(t)
	sh(t, dir, "go mod vendor", environ(), nil)
	offline := environ("GOPROXY=off", "GOFLAGS=-mod=vendor", "GOMODCACHE="+t.TempDir())
	sh(t, dir, "make -s install DESTDIR="+t.TempDir(), offline, nil)
	if everything() {
		sh(t, dir, "make -s dist ARCHES=arm64", offline, nil)
	}
}

// It builds for machines of 32 bits, too, where numbers of the kernel have other types.
func TestBuildFor32Bits(t *testing.T) {
	sh(t, "../..", "go build -trimpath -o /dev/null ./plugins/meta/portguard", environ("GOARCH=arm", "CGO_ENABLED=0"), nil)
}

// everything reports whether there is time for what takes long.
func everything() bool { return os.Getenv("DIST_ARCHES") != "" }

// packages checks that packages are the same bytes in both trees, and have the plugin
// where they were told. Where they are installed is asked by scripts/packages-test.sh.
func packages(t *testing.T, first, second string) {
	t.Helper()
	if !everything() {
		return
	}
	for _, bindir := range []string{"/opt/cni/bin", "/usr/lib/cni"} {
		build := "make -s packages BINDIR=" + bindir
		sums := sh(t, first, build, environ("TZ=UTC"), nil)
		again := sh(t, second, "umask 077; "+build, environ("TZ=Asia/Kathmandu", "LC_ALL=C.UTF-8"), nil)
		if d := cmp.Diff(sums, again); d != "" || strings.Count(sums, ".deb\n") != 2 || strings.Count(sums, ".rpm\n") != 2 {
			t.Errorf("the second build differs:\n%s\n%s", sums, d)
		}
		sh(t, first, "dpkg-deb -c dist/portguard_1.2.3-1_arm64.deb | grep -q ' \\."+bindir+"/portguard$'", environ(), nil)
	}
}
