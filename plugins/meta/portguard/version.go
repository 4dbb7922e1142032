// SPDX-License-Identifier: Apache-2.0

package main

import "runtime/debug"

// buildVersion is the module's version, as the go tool stamped it.
func buildVersion() string {
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" {
		return bi.Main.Version
	}
	return "(devel)"
}
