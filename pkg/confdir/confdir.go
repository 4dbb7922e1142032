// SPDX-License-Identifier: Apache-2.0

// Package confdir reads the directory of network configurations as a container
// runtime does. It does not use libcni, which brings crypto/tls and tracing into
// a plugin that starts for every pod; a test compares the two.
package confdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/netconf"
)

// ours is the plugin's type in a configuration.
const ours = "portguard"

// Read loads all configurations of a directory, in the order of their names, in
// which runtimes look at them. One that cannot be loaded says so itself.
func Read(dir string) ([]doctor.Conflist, error) {
	files, err := Files(dir)
	if err != nil {
		return nil, err
	}
	var out []doctor.Conflist
	for _, path := range files {
		l := doctor.Conflist{File: path}
		plugins, err := load(l.File)
		l.Err = err
		for _, p := range plugins {
			l.Types = append(l.Types, p.Type)
			if p.Type == ours {
				l.Capable = p.Capabilities["portMappings"]
				_, l.Invalid = netconf.Parse(p.raw)
				l.Unknown = netconf.Unknown(p.raw)
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// Files are the paths of what runtimes read in a directory, in the order of their names: a
// runtime takes the first one that it can load.
func Files(dir string) (out []string, err error) {
	entries, err := os.ReadDir(dir) // sorted
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".conflist", ".conf", ".json"}, filepath.Ext(e.Name())) {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, err
}

// A plugin is one entry of a list, with its text.
type plugin struct {
	types.PluginConf
	raw []byte
}

// MaxList is how many bytes a list may have: more than any network needs.
const MaxList = 1 << 20

// load reads a list, or a single configuration as a list of one.
func load(path string) (plugins []plugin, err error) {
	b, err := file.Read(path, MaxList, 0)
	if err != nil {
		return nil, err
	}
	plugins, err = parse(b, filepath.Ext(path) == ".conflist")
	if err == nil {
		plugins = withDelegates(plugins, filepath.Dir(path))
	}
	return plugins, err
}

// parse reads the text of a list, or of a single configuration.
func parse(b []byte, isList bool) (plugins []plugin, err error) {
	var list struct {
		Name    string            `json:"name"`
		Plugins []json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, err
	}
	if !isList {
		list.Plugins = []json.RawMessage{b}
	}
	for i, raw := range list.Plugins {
		p := plugin{raw: raw}
		if err := json.Unmarshal(raw, &p.PluginConf); err != nil {
			return nil, fmt.Errorf("plugin %d: %w", i+1, err)
		}
		if p.Type == "" {
			return nil, fmt.Errorf("plugin %d has no type", i+1)
		}
		p.Name = list.Name
		plugins = append(plugins, p)
	}
	switch {
	case list.Name == "":
		err = errors.New("it has no name")
	case len(plugins) == 0:
		err = errors.New("it has no plugins")
	}
	return plugins, err
}

// Config is portguard's configuration in the first file of a directory that names
// it. Without a sound one it is the default.
func Config(dir string) (c *netconf.Config, err error) {
	if c, err = netconf.Parse([]byte("{}")); err != nil {
		return nil, err
	}
	lists, err := Read(dir)
	if err != nil {
		return c, nil //nolint:nilerr // no directory is no configuration
	}
	for _, l := range lists {
		plugins, err := load(l.File)
		i := slices.IndexFunc(plugins, func(p plugin) bool { return p.Type == ours })
		if err != nil || i < 0 {
			continue
		}
		sound, err := netconf.Parse(plugins[i].raw)
		if err != nil { // where its records are may be said all the same
			c.DataDir = netconf.ParseTeardown(plugins[i].raw).DataDir
			return c, fmt.Errorf("%s: %w", l.File, err)
		}
		sound.Name = plugins[i].Name
		return sound, nil
	}
	return c, nil
}
