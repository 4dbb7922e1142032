// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// inPod puts this process into the cgroup of a pod with that UID until the test ends.
func inPod(t *testing.T, uid string) {
	t.Helper()
	root, was := "", ""
	mounts, err := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			root = f[1]
		}
	}
	groups, gerr := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			was = path
		}
	}
	if err != nil || gerr != nil || root == "" || was == "" {
		t.Fatalf("no cgroup2: %v, %v, %q, %q", err, gerr, root, was)
	}
	pods := filepath.Join(root, was, fmt.Sprintf("portguard-%d", os.Getpid()))
	pod := filepath.Join(pods, "kubepods-pod"+uid+".slice")
	move := func(to string) error {
		return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(fmt.Sprint(os.Getpid())), 0o644)
	}
	t.Cleanup(func() {
		if err := move(filepath.Join(root, was)); err != nil {
			t.Error(err)
		}
		_, _ = os.Remove(pod), os.Remove(pods)
	})
	if err := os.MkdirAll(pod, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := move(pod); err != nil {
		t.Fatal(err)
	}
}

// The kubelet's podLogsDir tells the name of the pod whose process has the port, to the
// plugin and to the commands.
func TestPodLogsDir(t *testing.T) {
	const uid = "0b7dd1d8-8a30-4a5b-a5c6-2f8a4b3c1d0e"
	n := newNode(t, "", "nft")
	logs := filepath.Join(n.Dir, "log[s]")
	if err := os.MkdirAll(filepath.Join(logs, "kube-system_dns-x7k2p_"+uid), 0o755); err != nil {
		t.Fatal(err)
	}
	list := n.Network("net", "46", lab.Conf{"podLogsDir": logs, "reserve": "off"}) // the listener comes later
	confDir(t, n, list)
	lost := n.NewPod("lost")
	n.MustAdd(lost, list, lab.TCP(53, 80))
	inPod(t, uid)
	n.ServeTCP("tcp4", "0.0.0.0:53", "dns")
	who := fmt.Sprintf("(pid %d, pod kube-system/dns-x7k2p)", os.Getpid())

	shadowed := listed(t, n)["0.0.0.0 53/tcp"]
	if !strings.Contains(shadowed.Reason, who) {
		t.Errorf("list: %s", shadowed.Reason)
	}
	n.Run("nft", "flush", "ruleset")
	if out, _ := cli(n, "restore", "--data-dir", n.Dir+"/state"); !strings.Contains(out, who) {
		t.Errorf("restore: %s", out)
	}
	refused(t, n, list, 100, []string{who}, lab.TCP(53, 80))
	if d := ask(t, n, "53/tcp").Decision; !strings.Contains(d.Refusals[0], who) {
		t.Errorf("explain: %v", d.Refusals)
	}
	refused(t, n, n.Network("net", "46", nil), 100, []string{"pod with UID " + uid}, lab.TCP(53, 80))
}
