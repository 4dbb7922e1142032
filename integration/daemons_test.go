// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// startDaemons starts daemons of others on a node, which go with the test. The script ends when
// they are ready. What is returned runs commands beside them.
func startDaemons(t *testing.T, n *lab.Node, script string, args ...string) func(command string) string {
	t.Helper()
	within := n.Apart(script, args...)
	return func(command string) string {
		t.Helper()
		return n.Run(append(within, "sh", "-ec", command)...)
	}
}
