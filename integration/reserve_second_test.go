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

// A server is a program of the node that wants port 8080.
type server struct {
	comm string
	// line is run by sh. It prints a line when it listens, and stays, or ends with what the
	// kernel said.
	line string
	// pod is whose it is, "" if it is the node's own.
	pod string
}

// listens is a server as most are written: SO_REUSEADDR, bind, listen.
const listens = `exec python3 -c '
import socket, time
open("/proc/self/comm", "w").write("%[1]s")
s = socket.socket(socket.AF_INET6 if ":" in "%[2]s" else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("%[2]s", 8080))
s.listen()
print("listens", flush=True)
time.sleep(1000)'`

func servers(t *testing.T, uid string) []server {
	t.Helper()
	named := func(name, addr string) server { return server{name, fmt.Sprintf(listens, name, addr), ""} }
	exporter := named("node_exporter", "::") // of a hostNetwork pod
	exporter.pod = "pod monitoring/exporter-x7k2p"
	pod := lab.NewCgroup(t).Dir + "/kubepods-pod" + uid + ".slice"
	container := pod + "/cri-containerd-0123.scope"
	exporter.line = "mkdir -p " + container + " && echo $$ >" + container + "/cgroup.procs && " + exporter.line
	t.Cleanup(func() { _, _ = os.Remove(container), os.Remove(pod) })
	return []server{
		named("docker-proxy", "0.0.0.0"),
		named("nginx", "::"),
		exporter,
		{"systemd-socket-", `exec systemd-socket-activate -l 0.0.0.0:8080 cat 2>&1`, ""}, // 15 characters
	}
}

// serve runs a server on the node; it is killed with the test, or by stop.
func (s server) serve(t *testing.T, n *lab.Node) (pid int, stop func()) {
	t.Helper()
	cmd := n.Command("sh", "-c", s.line)
	out, stop := n.Start(cmd)
	if line, err := out.ReadString('\n'); err != nil || !strings.HasPrefix(strings.ToLower(line), "listen") {
		t.Fatalf("%s: %q, %v", s.comm, line, err)
	}
	return cmd.Process.Pid, stop
}

// Whoever comes second is told, whether it is the pod or a process of the node of any kind, and
// both are named.
func TestWhoComesSecondIsTold(t *testing.T) {
	t.Parallel()
	const uid = "5f0e6d7c-8b9a-4c1d-a2e3-f40516273849"
	n := newNode(t, "", "nft")
	logs := filepath.Join(n.Dir, "logs")
	must(t, os.MkdirAll(filepath.Join(logs, "monitoring_exporter-x7k2p_"+uid), 0o755))
	list := n.Network("net", "46", lab.Conf{"podLogsDir": logs})
	confDir(t, n, list)
	for _, s := range servers(t, uid) {
		t.Run(s.comm, func(t *testing.T) {
			pod := n.NewPod("web")
			n.MustAdd(pod, list, lab.TCP(8080, 80))
			if out, err := n.Try("", "sh", "-c", s.line); err == nil || !strings.Contains(out, "Address already in use") {
				t.Errorf("after the pod: %v %s", err, out)
			}
			says := "pod default/web holds 8080/tcp; a bind was refused once, last to " + s.comm + " (pid "
			if out, _ := cli(n, "explain", "8080/tcp"); !strings.Contains(out, says) || !strings.Contains(out, s.pod+")") {
				t.Errorf("explain:\n%s", out)
			}
			must(t, n.Del(pod, list, lab.TCP(8080, 80)))

			pid, stop := s.serve(t, n)
			who := []string{fmt.Sprintf("hostPort 8080/tcp is taken: %s (pid %d", s.comm, pid), s.pod}
			refused(t, n, list, 100, who, lab.TCP(8080, 80))
			stop()
			n.MustAdd(pod, list, lab.TCP(8080, 80))
			must(t, n.Del(pod, list, lab.TCP(8080, 80)))
		})
	}
}
