// SPDX-License-Identifier: Apache-2.0

package main

import "runtime/debug"

// stamped is put here by the linker (scripts/build.sh): the go tool knows none without git.
var stamped string //nolint:gochecknoglobals // the linker sets variables and nothing else

// buildVersion is what was built, or the module's version as the go tool stamped it.
func buildVersion() string {
	if stamped != "" {
		return stamped
	}
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" {
		return bi.Main.Version
	}
	return "(devel)"
}
