// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/confdir"
	"github.com/portguard/portguard/pkg/conflist"
	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/inventory"
)

// Remove takes back what Install did. While pods need portguard it goes on in the conflist
// for their DEL only, new pods are portmap's, and who needs it is returned.
func (n *Node) Remove() (needed []string, err error) {
	unlock, err := n.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	lists, err := n.lists()
	if err != nil {
		return nil, err
	}
	left := false
	for _, path := range lists {
		did, err := n.leave(path)
		if err != nil {
			return nil, err
		}
		left = left || did
	}
	if left {
		time.Sleep(n.Grace) // an ADD may be on its way
	}
	if needed, err = n.needed(); err != nil || len(needed) > 0 {
		return needed, err
	}
	for _, path := range lists {
		if err := n.restore(path); err != nil {
			return nil, err
		}
	}
	return n.removePlugin()
}

// lists are those that Install may have edited: the first, and all of which the list of
// before was kept.
func (n *Node) lists() (paths []string, err error) {
	entries, err := os.ReadDir(n.ConfDir)
	for _, e := range entries {
		path := filepath.Join(n.ConfDir, e.Name())
		if _, err := os.Lstat(kept(path)); err == nil {
			paths = append(paths, path)
		}
	}
	if first, err := n.first(); err == nil && !slices.Contains(paths, first) {
		paths = append(paths, first)
	}
	return paths, err
}

// leave gives new pods to portmap, and reports whether it had to.
func (n *Node) leave(path string) (did bool, err error) {
	now, err := read(path)
	if err != nil || !now.HasPortguard() || now.HasPortmap() {
		return false, foreign(path, err)
	}
	before, err := n.before(path, now)
	if err != nil {
		return false, err
	}
	next, err := before.Leaving(now)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if err := n.replace(path, next); err != nil {
		return false, err
	}
	n.Log("%s names portmap again, and portguard for the DEL of its pods", path)
	return true, nil
}

// foreign is nil for a file without a list of plugins, in which portguard cannot be.
func foreign(path string, err error) error {
	if err == nil || errors.Is(err, conflist.ErrNoList) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

// before is the list that was kept. What somebody has changed since must not be undone.
func (n *Node) before(path string, now conflist.List) (l conflist.List, err error) {
	b, err := file.Read(kept(path), confdir.MaxList, unix.O_NOFOLLOW)
	if err != nil {
		return l, fmt.Errorf("%s names portguard, and the list of before cannot be read (%w); write portmap in its place", path, err)
	}
	if l, err = conflist.Parse(b); err != nil {
		return l, fmt.Errorf("%s: %w; write portmap in portguard's place in %s", kept(path), err, path)
	}
	if !l.HasPortmap() || !conflist.Same(l, now) {
		return l, fmt.Errorf("%s has been changed since portguard was put in, so %s does not go back; write portmap in portguard's place", path, kept(path))
	}
	return l, nil
}

// needed asks portguard whose DEL must still reach it. Dead pods have none, so what they
// left is removed.
func (n *Node) needed() (pods []string, err error) {
	var list inventory.List
	out, err := n.ask("list", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil {
		return nil, fmt.Errorf("portguard list: %w", err)
	}
	if len(list.Notes) > 0 {
		return nil, fmt.Errorf("portguard list could not read everything: %s", list.Notes[0])
	}
	dead := false
	for _, e := range list.HostPorts {
		dead = dead || e.State == inventory.Dead
		if e.By != name || e.State == inventory.Dead {
			continue
		}
		pod := fmt.Sprintf("pod %s has hostPort %d/%s", e.Pod, e.Port, e.Protocol)
		if e.Pod == "" {
			pod = fmt.Sprintf("container %s has hostPort %d/%s", e.ContainerID, e.Port, e.Protocol)
		}
		if !slices.Contains(pods, pod) { // one for each family
			pods = append(pods, pod)
		}
	}
	if len(pods) == 0 && dead {
		_, err = n.ask("gc")
	}
	return pods, err
}

// ask runs a command of the plugin that is to be removed, or of ours if it is gone. Where
// it runs ConfDir may have another name.
func (n *Node) ask(args ...string) (string, error) {
	path := filepath.Join(n.BinDir, name)
	if _, err := os.Stat(path); err != nil {
		path = n.Plugin
	}
	c, err := confdir.Config(n.ConfDir)
	if err != nil {
		return "", err
	}
	r, err := n.Run(path, append(args, "--data-dir", c.DataDir, "--cache-dir", c.CacheDir)...)
	if err == nil && r.Said() != "" {
		err = errors.New(r.Said())
	}
	return r.Stdout, err
}

// restore puts the list of before back.
func (n *Node) restore(path string) error {
	now, err := read(path)
	if err != nil || !now.HasPortguard() { // somebody has written it anew
		_ = os.Remove(kept(path))
		return foreign(path, err)
	}
	if _, err := n.before(path, now); err != nil {
		if !now.HasPortmap() {
			return err
		}
		if err := n.keepOld(path, now.Plain()); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Rename(kept(path), path), sync(n.ConfDir)); err != nil {
		return err
	}
	n.Log("%s is as it was before portguard", path)
	return nil
}

// removePlugin removes the plugin and what it left in the kernel, unless a list names it.
func (n *Node) removePlugin() (needed []string, err error) {
	path := filepath.Join(n.BinDir, name)
	_ = os.Remove(unfinished(path))
	_, gone := os.Stat(path)
	if gone == nil {
		time.Sleep(n.Grace) // a DEL may be on its way
	}
	lists, err := confdir.Read(n.ConfDir)
	if err != nil {
		return nil, err
	}
	for _, l := range lists {
		if slices.Contains(l.Types, name) {
			needed = append(needed, l.File+" names it")
		}
	}
	if len(needed) > 0 {
		return needed, nil
	}
	if err := n.Free(); err != nil || errors.Is(gone, fs.ErrNotExist) {
		return nil, err
	}
	if err := errors.Join(os.Remove(path), sync(n.BinDir)); err != nil {
		return nil, err
	}
	n.Log("%s is removed", path)
	return nil, nil
}
