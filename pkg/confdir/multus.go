// SPDX-License-Identifier: Apache-2.0

package confdir

import (
	"encoding/json"
	"path/filepath"

	"github.com/portguard/portguard/pkg/file"
)

// withDelegates puts behind an entry of Multus the plugins that it calls for every pod: its
// delegates, or the list that clusterNetwork names by its file or its name. A capability that
// Multus does not declare is not told to them.
func withDelegates(plugins []plugin, dir string) (out []plugin) {
	for _, p := range plugins {
		if out = append(out, p); p.Type != "multus" {
			continue
		}
		for _, d := range delegates(p.raw, dir) {
			if !p.Capabilities["portMappings"] {
				d.Capabilities = nil
			}
			out = append(out, d)
		}
	}
	return out
}

// delegates are the plugins that Multus calls. What cannot be read is Multus' own affair.
func delegates(raw []byte, dir string) (out []plugin) {
	var m struct {
		Delegates      []json.RawMessage `json:"delegates"`
		ClusterNetwork string            `json:"clusterNetwork"`
	}
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	for _, d := range m.Delegates {
		out = append(out, parsed(d)...)
	}
	if m.ClusterNetwork == "" {
		return out
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.conf*"))
	for _, f := range files {
		b, err := file.Read(f, MaxList, 0)
		var of struct {
			Name string `json:"name"`
		}
		if err != nil || json.Unmarshal(b, &of) != nil {
			continue
		}
		if filepath.Base(f) == filepath.Base(m.ClusterNetwork) || of.Name == m.ClusterNetwork {
			return append(out, parsed(b)...)
		}
	}
	return out
}

// parsed are the plugins of a configuration inside another one.
func parsed(b []byte) []plugin {
	var list struct {
		Plugins []json.RawMessage `json:"plugins"`
	}
	_ = json.Unmarshal(b, &list)
	plugins, _ := parse(b, list.Plugins != nil)
	return plugins
}
