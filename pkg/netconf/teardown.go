// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"time"
)

// A Teardown is the little a DEL needs. Nothing in it can be invalid: DEL must
// succeed with the configuration it is given, or none.
type Teardown struct {
	Name        string
	DataDir     string
	LockTimeout time.Duration
	// HasPorts reports that runtimeConfig.portMappings holds something, be it
	// malformed.
	HasPorts bool
}

// ParseTeardown reads what it can and takes the default for the rest.
func ParseTeardown(stdin []byte) Teardown {
	t := Teardown{DataDir: DefaultDataDir, LockTimeout: DefaultLockTimeout}
	var given map[string]json.RawMessage
	if json.Unmarshal(stdin, &given) != nil {
		return t
	}
	key := func(name string) json.RawMessage {
		raw, _ := lookUp(given, name)
		return raw
	}
	t.Name = text(key("name"))
	if dir := text(key("dataDir")); filepath.IsAbs(dir) && filepath.Clean(dir) != "/" {
		t.DataDir = filepath.Clean(dir)
	}
	if d, err := time.ParseDuration(text(key("lockTimeout"))); err == nil && d > 0 {
		t.LockTimeout = d
	}
	var rc struct {
		PortMappings json.RawMessage `json:"portMappings"`
	}
	if raw := key("runtimeConfig"); raw != nil && json.Unmarshal(raw, &rc) != nil {
		t.HasPorts = true // not an object: it may have been one at ADD
	}
	var list []json.RawMessage
	pm := bytes.TrimSpace(rc.PortMappings)
	if len(pm) > 0 && (json.Unmarshal(pm, &list) != nil || len(list) > 0) {
		t.HasPorts = true
	}
	return t
}

// text returns the string in raw, "" if it is something else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
