// SPDX-License-Identifier: Apache-2.0

// Package reader compares what is read of the kernel's rules with what iptables was told,
// in network namespaces of its own.
package reader

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "SKIP: integration tests need root")
		if os.Getenv("CI") == "true" {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
