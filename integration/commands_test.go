// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// The examples of docs/commands.md are what the commands say on the node that it tells of.
func TestCommandsPage(t *testing.T) {
	s := newSituation(t, map[string]bool{})
	s.list = s.n.Network("net", "4", nil)
	if err := os.WriteFile(s.n.Dir+"/net.d/10-k8s.conflist", []byte(s.list), 0o644); err != nil {
		t.Fatal(err)
	}
	proxied(t, s.n, "nft-noservice")
	s.pod("web", lab.TCP(8080, 80))
	s.pod("other", lab.TCP(8080, 80)).Delete()
	s.pod("api", lab.TCP(8443, 443).On(lab.NodeV4))
	s.dead("batch", lab.TCP(8082, 80))
	s.pod("mail", lab.TCP(25, 25))
	for range 2 {
		want(t, "web", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
	}
	s.n.Run("python3", "-c", `import socket
open("/proc/self/comm", "w").write("apache2")
for i in range(3):
    try: socket.socket().bind(("0.0.0.0", 8080))
    except OSError: continue
    raise SystemExit("the bind is not refused")
`)
	s.n.Iptables("", "-t nat -A PREROUTING -p tcp --dport 8443 -j REDIRECT --to-ports 443")
	s.n.Run("nft", "delete element inet portguard ports4 { tcp . 25 }")
	b, err := os.ReadFile("../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(b), "\n    # portguard ")[1:]
	if len(examples) != 6 {
		t.Errorf("the page has %d examples", len(examples))
	}
	// What changes the node comes last.
	slices.SortStableFunc(examples, func(a, b string) int { return changes(a) - changes(b) })
	for _, e := range examples {
		rows := strings.Split(e, "\n")
		end := slices.IndexFunc(rows[1:], func(row string) bool { return row != "" && !strings.HasPrefix(row, "    ") })
		out, _ := s.n.Try("", "sh", "-c", "portguard "+rows[0])
		s.compare("portguard "+rows[0], rows[1:][:end], strings.Split(s.plain(out), "\n"))
	}
}

// changes is when an example is tried if it changes the node: gc puts rules back, too.
func changes(example string) int {
	command, _, _ := strings.Cut(example, "\n")
	return map[string]int{"restore": 1, "gc": 2}[command]
}
