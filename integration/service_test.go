// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// restoreService is the systemd unit that heals after a restart of a firewall.
const restoreService = "../systemd/portguard-restore.service"

// systemd can load the unit without a warning, and what it runs puts back what a restart or
// a reload of nftables.service took: with no environment of a person, no terminal and no input.
func TestRestoreService(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile(restoreService)
	if err != nil {
		t.Fatal(err)
	}
	unit = bytes.ReplaceAll(unit, []byte("/opt/cni/bin/"), []byte(bin+"/"))
	path := filepath.Join(t.TempDir(), filepath.Base(restoreService))
	if err := os.WriteFile(path, unit, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("portguard")) {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
	runs := regexp.MustCompile(`(?m)^(Exec[A-Za-z]+)=-?(/.*)$`).FindAllStringSubmatch(string(unit), -1)
	if len(runs) != 2 {
		t.Fatalf("the unit runs %q", runs)
	}
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			n := newNode(t, backend, "nft")
			list := n.Network("net", "46", nil)
			confDir(t, n, list)
			web, taken := n.NewPod("web"), n.NewPod("taken")
			web.Serve(80, "web")
			n.MustAdd(web, list, lab.TCP(8080, 80))
			n.MustAdd(taken, n.Network("net", "46", lab.Conf{"reserve": "off"}), lab.TCP(8081, 80)) // a listener comes later
			for i, run := range runs {
				n.Run("nft", "flush", "ruleset")
				if i == 1 { // the unit stays active: systemd passes nothing on to one that failed
					defer n.ServeTCP("tcp", ":8081", "host").Close()
				}
				want(t, "flushed", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
				if out, code := asService(t, n, run[2]); code != i || !strings.Contains(string(unit), "\nSuccessExitStatus=1 2\n") {
					t.Errorf("%s: exit code %d: %s", run[1], code, out)
				}
				want(t, run[1], n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
				want(t, run[1]+": IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:8080"), "web")
			}
		})
	}
}

// asService runs a command line on the node with what systemd gives to a service
// (systemd.exec(5)), and with the directories of the test.
func asService(t *testing.T, n *lab.Node, line string) (out string, code int) {
	t.Helper()
	var err error
	n.Do(func() {
		cmd := exec.Command("setsid", append(strings.Fields(line), "--conf-dir", n.Dir+"/net.d", "--cache-dir", n.Dir+"/cache")...)
		cmd.Dir = "/"
		cmd.Env = []string{"LANG=C.UTF-8", "PATH=" + n.Dir + "/path:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}
		var b []byte
		b, err = cmd.CombinedOutput()
		out = string(b)
	})
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return out, exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out, 0
}
