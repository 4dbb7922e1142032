// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Two builds are the same to the byte, whatever the machine has set, and hold what the
// DaemonSet starts.
func TestImage(t *testing.T) {
	outs := []string{t.TempDir(), t.TempDir()}
	for i, set := range []string{"GOAMD64=v3 LDFLAGS=-Wl,-z,relro TZ=Asia/Kathmandu", "GOFLAGS=-trimpath=false CGO_ENABLED=1"} {
		cmd := exec.Command("sh", "../../scripts/image.sh")
		cmd.Env = append(append(os.Environ(), strings.Fields(set)...), "DISTDIR="+outs[i], "ARCHES=amd64 arm64", "VERSION=v1", "SOURCE_DATE_EPOCH=1700000000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, f := range files(t, outs[0]) {
		x, err1 := os.ReadFile(filepath.Join(outs[0], f))
		y, err2 := os.ReadFile(filepath.Join(outs[1], f))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(x, y) {
			t.Errorf("%s differs: %v", f, err)
		}
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(outs[0], "portguard-image-v1"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	for i, machine := range []elf.Machine{elf.EM_X86_64, elf.EM_AARCH64} {
		arch := []string{"amd64", "arm64"}[i]
		img, err := index.Image(m.Manifests[i].Digest)
		if err != nil || m.Manifests[i].MediaType != types.OCIManifestSchema1 || m.Manifests[i].Platform.String() != "linux/"+arch {
			t.Fatalf("%s: %+v, %v", arch, m.Manifests[i], err)
		}
		holds(t, img, arch, machine)
		archive, err := tarball.ImageFromPath(filepath.Join(outs[0], fmt.Sprintf("portguard-image-linux-%s-v1.tar", arch)), nil)
		if err != nil {
			t.Fatal(err)
		}
		holds(t, archive, arch, machine)
	}
}

// holds fails unless an image is for that machine, as a whole.
func holds(t *testing.T, img v1.Image, arch string, machine elf.Machine) {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil || c.Architecture != arch || c.OS != "linux" || !slices.Equal(c.Config.Entrypoint, []string{"/portguard-install"}) || c.Created.Unix() != 1700000000 {
		t.Errorf("%s: %+v, %v", arch, c, err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%v, %v", layers, err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	programs, notices := map[string]*buildinfo.BuildInfo{}, ""
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %o %d:%d %d", h.Name, h.Mode, h.Uid, h.Gid, h.ModTime.Unix()))
		text, _ := io.ReadAll(r)
		if h.Name == "THIRD-PARTY-LICENSES" {
			notices = string(text)
		}
		if h.Mode != 0o755 {
			continue
		}
		e, err := elf.NewFile(bytes.NewReader(text))
		if err != nil || e.Machine != machine || e.Section(".interp") != nil {
			t.Errorf("%s of %s is not a static program for %v: %v", h.Name, arch, machine, err)
		}
		if programs[h.Name], err = buildinfo.Read(bytes.NewReader(text)); err != nil {
			t.Errorf("%s of %s: %v", h.Name, arch, err)
		}
	}
	if want := []string{"LICENSE 644 0:0 0", "THIRD-PARTY-LICENSES 644 0:0 0", "portguard 755 0:0 0", "portguard-install 755 0:0 0"}; !slices.Equal(got, want) {
		t.Fatalf("%s: %v; want %v", arch, got, want)
	}
	for name, info := range programs {
		for _, d := range info.Deps {
			if !strings.Contains(notices, d.Path+" "+d.Version) {
				t.Errorf("%s has %s %s linked in, and THIRD-PARTY-LICENSES does not say so", name, d.Path, d.Version)
			}
		}
	}
}

// files are all below a folder.
func files(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path, err = filepath.Rel(dir, path)
			out = append(out, path)
		}
		return err
	})
	if err != nil || len(out) < 5 {
		t.Fatalf("%v, %v", out, err)
	}
	return out
}
