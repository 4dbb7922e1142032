// SPDX-License-Identifier: Apache-2.0

// Package faults kills the real plugin at random moments and looks at what is
// left.
package faults

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// bin is where TestMain puts the binaries.
var bin string

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run, &bin)) }

// tries is how often each verb is killed: TRIES, or a few.
func tries(t *testing.T) int {
	t.Helper()
	s := os.Getenv("TRIES")
	if s == "" {
		return 15
	}
	k, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("TRIES: %v", err)
	}
	return k
}

// A figure is what came of one backend and verb.
type figure struct{ tries, killed, done, leftovers int }

func conf(n *lab.Node, p *lab.Pod, port int) string {
	return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"portguard","backend":%q,"dataDir":"%s/state",
		"runtimeConfig":{"portMappings":[{"hostPort":%d,"containerPort":80,"protocol":"tcp"},{"hostPort":%d,"containerPort":80,"protocol":"udp"}]},
		"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":%q}],
		"ips":[{"address":"10.88.0.77/16","interface":0},{"address":"fd00:88::77/64","interface":0}]}}`, n.Backend, n.Dir, port, port, p.Path)
}

func collect(n *lab.Node, keep *lab.Pod) string {
	return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"portguard","dataDir":"%s/state","cni.dev/valid-attachments":[{"containerID":%q,"ifname":"eth0"}]}`, n.Dir, keep.ID)
}

// start runs the plugin and kills it after a while; killed is false if it was done
// before.
func start(n *lab.Node, verb string, p *lab.Pod, stdin string, after time.Duration) (killed bool, err error) {
	n.Do(func() {
		cmd := n.Command(filepath.Join(n.Bin, "portguard"))
		cmd.Env = slices.Concat(n.Env, []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + p.ID, "CNI_NETNS=" + p.Path, "CNI_IFNAME=eth0", "CNI_PATH=" + n.Bin})
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
		if err = cmd.Start(); err != nil {
			return
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err = <-done:
		case <-time.After(after):
			_ = cmd.Process.Kill()
			err = <-done
			if killed = cmd.ProcessState.ExitCode() == -1; killed {
				err = nil
			}
		}
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", verb, err, out.String())
		}
	})
	return killed, err
}

// Killed at any moment, portguard leaves nothing that DEL does not remove, and
// nobody else's rule differs.
func TestKill(t *testing.T) {
	for _, where := range [][2]string{{"nftables", "nft"}, {"iptables", "nft"}, {"iptables", "legacy"}} {
		t.Run(where[0]+" beside "+where[1], func(t *testing.T) {
			n := lab.NewNode(t, bin, where[1])
			n.Backend = where[0]
			n.KubeProxy("10.88.0.200:80")
			pod, keep := n.NewPod("pod"), n.NewPod("keep")
			n.Run("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", pod.Name)
			n.Run("ip", "link", "set", "pod0", "up")
			n.Run("ip", "route", "add", "10.88.0.77/32", "dev", "pod0")
			run := func(verb string, p *lab.Pod, stdin string) {
				t.Helper()
				if _, err := start(n, verb, p, stdin, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			run("ADD", keep, conf(n, keep, 9999))
			before, localnet := n.Rules(), n.ReadSysctl("net/ipv4/conf/pod0/route_localnet")
			for _, verb := range []string{"ADD", "DEL", "GC"} {
				var f figure
				longest := took(n, verb, pod, keep) * 5 / 4
				for range tries(t) {
					f.tries++
					stdin := conf(n, pod, 8080)
					if verb != "ADD" {
						run("ADD", pod, stdin)
					}
					if verb == "GC" {
						stdin = collect(n, keep)
					}
					killed, err := start(n, verb, pod, stdin, time.Duration(rand.IntN(int(longest))))
					if err != nil {
						t.Fatal(err)
					}
					if f.done++; killed {
						f.done--
						f.killed++
					}
					run("DEL", pod, conf(n, pod, 8080))
					if rules := n.Rules(); rules != before {
						f.leftovers++
						t.Errorf("%s: rules differ after DEL:\n%s", verb, rules)
						before = rules
					}
					if files := leftFiles(n); len(files) != 1 {
						f.leftovers++
						t.Errorf("%s: files left: %v", verb, files)
					}
					if now := n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"); now != localnet {
						f.leftovers++
						t.Errorf("%s: route_localnet is %s", verb, now)
					}
				}
				run("ADD", pod, conf(n, pod, 8080))
				run("CHECK", pod, conf(n, pod, 8080))
				run("DEL", pod, conf(n, pod, 8080))
				fmt.Printf("kill -9: %s beside iptables-%s, %s: %d tries, %d killed, %d done before, %d leftovers\n",
					where[0], where[1], verb, f.tries, f.killed, f.done, f.leftovers)
			}
		})
	}
}

// took is how long a call takes when nobody kills it.
func took(n *lab.Node, verb string, pod, keep *lab.Pod) time.Duration {
	stdin := conf(n, pod, 8080)
	if verb != "ADD" {
		_, _ = start(n, "ADD", pod, stdin, time.Minute)
	}
	if verb == "GC" {
		stdin = collect(n, keep)
	}
	begin := time.Now()
	_, _ = start(n, verb, pod, stdin, time.Minute)
	d := time.Since(begin)
	_, _ = start(n, "DEL", pod, conf(n, pod, 8080), time.Minute)
	return d
}

// leftFiles are the records and temporary files in the state directory.
func leftFiles(n *lab.Node) []string {
	entries, _ := os.ReadDir(filepath.Join(n.Dir, "state"))
	var out []string
	for _, e := range entries {
		if !slices.Contains([]string{"lock", "complete", "counters", "seen"}, e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out
}
