// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Build puts portguard and the tools of go.mod into dir, built as for a release.
func Build(dir string) error {
	args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-buildvcs=false", "-o", dir + "/",
		"github.com/portguard/portguard/plugins/meta/portguard",
		"github.com/portguard/portguard/integration/noop",
		"github.com/containernetworking/cni/cnitool",
		"github.com/containernetworking/plugins/plugins/main/bridge",
		"github.com/containernetworking/plugins/plugins/main/ptp",
		"github.com/containernetworking/plugins/plugins/ipam/host-local",
		"github.com/containernetworking/plugins/plugins/meta/bandwidth",
		"github.com/containernetworking/plugins/plugins/meta/portmap",
		"github.com/containernetworking/plugins/plugins/meta/tuning",
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// Main runs the tests of a package enclosed, with the binaries in a directory of their own,
// and returns the exit code. Namespaces need root; nothing is skipped without.
func Main(run func() int, bin *string) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "integration tests need root")
		return 1
	}
	if *bin = os.Getenv("PORTGUARD_BIN"); *bin != "" { // a test runs itself
		return run()
	}
	return Enclose(func() int { return build(run, bin) })
}

func build(run func() int, bin *string) int {
	dir, err := os.MkdirTemp("", "portguard-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		*bin = dir
		err = errors.Join(os.Chmod(dir, 0o755), Build(dir)) // for the root of a user namespace too
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		return 1
	}
	return run()
}
