// SPDX-License-Identifier: Apache-2.0

// Command image builds the image of the DaemonSet without docker: an OCI layout for all
// architectures, and a docker archive for each.
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A build is one run.
type build struct {
	source, version string
	tag             name.Tag
	created         time.Time
}

func main() {
	log.SetFlags(0)
	source := flag.String("source", "..", "the repository")
	out := flag.String("out", "../dist", "where the image goes")
	version := flag.String("version", "", "tag of the image (default: what git describes)")
	repository := flag.String("name", "portguard/portguard", "name of the image")
	arches := flag.String("arches", "amd64 arm64", "architectures")
	flag.Parse()
	b := build{source: *source, version: *version}
	if err := b.run(*repository, *out, strings.Fields(*arches)); err != nil {
		log.Fatalf("image: %v", err)
	}
}

func (b *build) run(repository, out string, arches []string) (err error) {
	if err = b.describe(repository); err != nil {
		return err
	}
	index := v1.ImageIndex(empty.Index)
	if err = os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, arch := range arches {
		img, err := b.image(arch)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		file := filepath.Join(out, fmt.Sprintf("portguard-image-linux-%s-%s.tar", arch, b.version))
		if err := tarball.WriteToFile(file, b.tag, img); err != nil {
			return err
		}
		fmt.Println(file)
	}
	dir := filepath.Join(out, "portguard-image-"+b.version)
	if err = os.RemoveAll(dir); err != nil {
		return err
	}
	if _, err = layout.Write(dir, index); err != nil {
		return err
	}
	digest, err := index.Digest()
	fmt.Printf("%s %s\n", dir, digest)
	return err
}

// describe asks git for what was not said.
func (b *build) describe(repository string) (err error) {
	if b.version == "" {
		if b.version, err = b.git("describe", "--tags", "--always", "--abbrev=12", "--dirty"); err != nil {
			return err
		}
	}
	if b.tag, err = name.NewTag(repository + ":" + b.version); err != nil {
		return err
	}
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		if epoch, err = b.git("log", "-1", "--format=%ct"); err != nil {
			return err
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	b.created = time.Unix(seconds, 0).UTC()
	return err
}

func (b *build) git(args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-C", b.source}, args...)...).Output()
	return strings.TrimSpace(string(out)), err
}

// image is that of one architecture: two static programs and the license.
func (b *build) image(arch string) (v1.Image, error) {
	dir, err := os.MkdirTemp("", "portguard-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, p := range []string{"plugins/meta/portguard", "cmd/portguard-install"} {
		if err := b.compile(arch, p, filepath.Join(dir, filepath.Base(p))); err != nil {
			return nil, err
		}
	}
	text, err := layer(filepath.Join(dir, "portguard"), filepath.Join(dir, "portguard-install"), filepath.Join(b.source, "LICENSE"))
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{Created: v1.Time{Time: b.created}, CreatedBy: "portguard"}})
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, b.config(arch, img))
}

// config says what runs.
func (b *build) config(arch string, img v1.Image) *v1.ConfigFile {
	c, err := img.ConfigFile()
	if err != nil {
		log.Fatal(err) // it was made a moment ago
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created = "linux", arch, v1.Time{Time: b.created}
	c.Config = v1.Config{
		Entrypoint: []string{"/portguard-install"}, WorkingDir: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Labels: map[string]string{"org.opencontainers.image.title": "portguard", "org.opencontainers.image.version": b.version, "org.opencontainers.image.licenses": "Apache-2.0"},
	}
	return c
}

// compile builds a program so that nothing of this machine gets in.
func (b *build) compile(arch, program, to string) error {
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	cmd := exec.Command(cmp.Or(os.Getenv("GO"), "go"), "build", "-trimpath", "-ldflags", "-X main.stamped="+b.version+" -s -w", "-o", to, "./"+program)
	cmd.Dir, cmd.Stderr = b.source, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=-buildvcs=auto", "GOWORK=off", "GOAMD64=v1", "GOARM64=v8.0")
	return cmd.Run()
}

// layer is a tar of files. Owner, order and times are always the same.
func layer(files ...string) ([]byte, error) {
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		mode := int64(0o755)
		if filepath.Base(f) == "LICENSE" {
			mode = 0o644
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.Base(f), Mode: mode, Size: int64(len(content)), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), w.Close()
}
