// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"encoding/json"
	"time"
)

// A Teardown is the little a DEL needs. Nothing in it can be invalid: DEL must
// succeed with the configuration it is given, or none.
type Teardown struct {
	Name        string
	DataDir     string
	LockTimeout time.Duration
	// HasPorts reports that runtimeConfig.portMappings holds something, even
	// malformed, or that nobody can tell.
	HasPorts bool
}

// ParseTeardown reads what it can and takes the default for the rest.
func ParseTeardown(stdin []byte) Teardown {
	t := Teardown{DataDir: DefaultDataDir, LockTimeout: DefaultLockTimeout}
	var given struct {
		Name          string          `json:"name"`
		DataDir       string          `json:"dataDir"`
		LockTimeout   string          `json:"lockTimeout"`
		RuntimeConfig json.RawMessage `json:"runtimeConfig"`
	}
	// A value of a wrong type is left out, and the others are read.
	t.HasPorts = json.Unmarshal(stdin, &given) != nil && !json.Valid(stdin)
	t.Name = given.Name
	if dir, ok := Directory(given.DataDir); ok {
		t.DataDir = dir
	}
	if d, err := time.ParseDuration(given.LockTimeout); err == nil && d > 0 {
		t.LockTimeout = d
	}
	var rc struct {
		PortMappings json.RawMessage `json:"portMappings"`
	}
	if given.RuntimeConfig != nil && json.Unmarshal(given.RuntimeConfig, &rc) != nil {
		t.HasPorts = true // not an object: it may have been one at ADD
	}
	var list []json.RawMessage
	if rc.PortMappings != nil && (json.Unmarshal(rc.PortMappings, &list) != nil || len(list) > 0) {
		t.HasPorts = true
	}
	return t
}
