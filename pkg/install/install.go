// SPDX-License-Identifier: Apache-2.0

// Package install puts portguard into the folders of a node and takes it back. Every step is
// one rename, so that the node works whenever it is killed, and a second run goes on where
// the first one was.
package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/confdir"
	"github.com/portguard/portguard/pkg/conflist"
	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/run"
)

// A Node is where the runtime of a node looks, as seen from here.
type Node struct {
	// Plugin is the plugin that is to be installed.
	Plugin string
	// BinDir and ConfDir are the runtime's folders.
	BinDir, ConfDir string
	// Conflist is the name of the list to edit, "" for the one that the runtime takes.
	Conflist string
	// Protect are ports that no pod gets.
	Protect []string
	// Grace is how long the runtime may go on with what it has read before.
	Grace time.Duration
	// Run runs the plugin as the runtime would: where it sees the node.
	Run func(path string, args ...string) (run.Result, error)
	// Free takes off the node what the plugin keeps in the kernel beside its pods' mappings.
	Free func() error
	// Log is told of what was done.
	Log func(format string, args ...any)

	// put is the plugin in BinDir as we have last seen it to be ours.
	put os.FileInfo
}

// name is that of the plugin.
const name = "portguard"

// Install puts the plugin into BinDir and into portmap's place in the conflist. What is so
// already stays untouched.
func (n *Node) Install() error {
	unlock, err := n.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.putPlugin(); err != nil {
		return err
	}
	path, err := n.first()
	if err != nil {
		return err
	}
	now, err := read(path)
	switch {
	case err == nil && now.HasPortguard() && !now.HasPortmap():
		return nil
	case err == nil && !now.HasPortmap():
		err = errors.New("it names neither portmap nor portguard")
	}
	var next []byte
	if err == nil {
		next, err = now.Guarded(n.Protect)
	}
	if err != nil {
		return fmt.Errorf("%s: %w; where the runtime uses another list, name it with --conflist", path, err)
	}
	if err := n.keepOld(path, now.Plain()); err != nil {
		return err
	}
	if err := n.replace(path, next); err != nil {
		return err
	}
	n.Log("%s names portguard in portmap's place; the list of before is %s", path, kept(path))
	return nil
}

// putPlugin puts the plugin into BinDir, unless it is there. One that cannot run here is
// an error before any conflist names it.
func (n *Node) putPlugin() error {
	path := filepath.Join(n.BinDir, name)
	st, err := os.Stat(path)
	if err == nil && n.put != nil && os.SameFile(st, n.put) && st.ModTime().Equal(n.put.ModTime()) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	want, err := os.ReadFile(n.Plugin)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) || st.Mode().Perm()&0o111 != 0o111 {
		if err := n.runs(n.Plugin); err != nil {
			return err
		}
		if err := write(path, want, 0o755); err != nil {
			return fmt.Errorf("%w; --bin-dir must be a folder that can be written and that the runtime looks in", err)
		}
		n.Log("%s is installed", path)
	}
	if err := n.runs(path); err != nil {
		return err
	}
	n.put, err = os.Stat(path)
	return err
}

// runs fails if a plugin cannot run: it is for another machine, or its folder is noexec.
func (n *Node) runs(path string) error {
	r, err := n.Run(path, "version")
	if err == nil && r.Said() != "" {
		err = errors.New(r.Said())
	}
	if err != nil {
		return fmt.Errorf("%s does not run here: %w", path, err)
	}
	return nil
}

// first is the list that is to be edited: a runtime takes the first file by name.
func (n *Node) first() (path string, err error) {
	if n.Conflist != "" {
		return filepath.Join(n.ConfDir, n.Conflist), nil
	}
	files, err := confdir.Files(n.ConfDir)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there is no conflist in %s yet; it comes with the cluster's network", n.ConfDir)
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}

// read reads a list. A link would be replaced by a file.
func read(path string) (conflist.List, error) {
	b, err := file.Read(path, confdir.MaxList, unix.O_NOFOLLOW)
	if err != nil {
		return conflist.List{}, err
	}
	return conflist.Parse(b)
}

// kept is where the list of before is. A runtime does not read files of this extension.
func kept(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".portmap")
}

// keepOld writes the list of before, unless it is there.
func (n *Node) keepOld(path string, text []byte) error {
	if have, err := os.ReadFile(kept(path)); err == nil && bytes.Equal(have, text) {
		return nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return write(kept(path), text, st.Mode().Perm())
}

// replace writes a list in the place of one, with its mode.
func (n *Node) replace(path string, text []byte) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return write(path, text, st.Mode().Perm())
}

// lock waits until no other run has the folder. Two pods of a DaemonSet may overlap.
func (n *Node) lock() (unlock func(), err error) {
	f, err := os.Open(n.ConfDir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: n.ConfDir, Err: err}, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// write puts a file in the place of another in one step, and on the disk.
func write(path string, text []byte, mode os.FileMode) error {
	if err := file.Replace(path, unfinished(path), text, mode); err != nil {
		return err
	}
	return sync(filepath.Dir(path))
}

// unfinished is where a file is written. Neither runtime nor people take it for a plugin or
// a list.
func unfinished(path string) string {
	return filepath.Join(filepath.Dir(path), "."+strings.TrimPrefix(filepath.Base(path), ".")+".new")
}

// sync makes renames in a folder last.
func sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
