// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/portguard/portguard/pkg/netconf"
)

// The conflists we ship are read by libcni and by the plugin, and declare the
// capability without which a runtime passes no ports.
func TestConflists(t *testing.T) {
	files, _ := filepath.Glob("../conflist/*.conflist")
	if len(files) == 0 {
		t.Fatal("there are none")
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		list, err := libcni.ConfListFromBytes(b)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		found := false
		for _, p := range list.Plugins {
			if p.Network.Type != "portguard" {
				continue
			}
			found = p.Network.Capabilities["portMappings"]
			if _, err := netconf.Parse(p.Bytes); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
		if !found {
			t.Errorf("%s: no portguard with the portMappings capability", f)
		}
	}
}
