// SPDX-License-Identifier: Apache-2.0

// Command image makes an image of files without docker: an OCI layout for all architectures,
// and a docker archive for each. scripts/image.sh builds the files.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	files   string // a folder with one folder for each architecture
	out     string
	tag     name.Tag
	created time.Time
}

func main() {
	files := flag.String("files", "", "folder with a folder of files for each architecture")
	out := flag.String("out", "", "where the image goes")
	repository := flag.String("name", "portguard/portguard", "name of the image")
	version := flag.String("version", "", "tag of the image")
	created := flag.Int64("created", 0, "when it was made, in seconds since 1970")
	flag.Parse()
	tag, err := name.NewTag(*repository + ":" + *version)
	if err == nil {
		b := build{files: *files, out: *out, tag: tag, created: time.Unix(*created, 0).UTC()}
		err = b.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run writes the archives and the layout.
func (b *build) run() error {
	arches, err := os.ReadDir(b.files)
	if err == nil {
		err = os.MkdirAll(b.out, 0o755)
	}
	if err != nil {
		return err
	}
	index := v1.ImageIndex(empty.Index)
	for _, a := range arches {
		arch := a.Name()
		img, err := b.image(arch)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		file := filepath.Join(b.out, fmt.Sprintf("portguard-image-linux-%s-%s.tar", arch, b.tag.TagStr()))
		if err := tarball.WriteToFile(file, b.tag, img); err != nil {
			return err
		}
		fmt.Println(file)
	}
	dir := filepath.Join(b.out, "portguard-image-"+b.tag.TagStr())
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if _, err := layout.Write(dir, index); err != nil {
		return err
	}
	digest, err := index.Digest()
	fmt.Printf("%s %s\n", dir, digest)
	return err
}

// image is that of one architecture: one layer of its files.
func (b *build) image(arch string) (v1.Image, error) {
	text, err := layer(filepath.Join(b.files, arch))
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
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, b.config(arch, c.DeepCopy()))
}

// config says what runs.
func (b *build) config(arch string, c *v1.ConfigFile) *v1.ConfigFile {
	c.OS, c.Architecture, c.Created = "linux", arch, v1.Time{Time: b.created}
	c.Config = v1.Config{
		Entrypoint: []string{"/portguard-install"}, WorkingDir: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Labels: map[string]string{"org.opencontainers.image.title": "portguard", "org.opencontainers.image.version": b.tag.TagStr(), "org.opencontainers.image.licenses": "Apache-2.0"},
	}
	return c
}

// layer is a tar of the files of a folder, in the order of their names. Of their modes it
// keeps whether they are programs, and all have the same owner and time.
func layer(dir string) ([]byte, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, f := range files {
		info, err1 := f.Info()
		content, err2 := os.ReadFile(filepath.Join(dir, f.Name()))
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Name: f.Name(), Mode: mode, Size: int64(len(content)), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), w.Close()
}
