// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
)

// An ADD that is killed while it holds its ports, and has no record yet, leaves them held:
// doctor and gc say so, and gc, a DEL that knows nothing of the ports, and whatever changes
// something free them.
func TestKilledWhileHolding(t *testing.T) {
	n := newNode(t, "", "nft")
	list := n.Network("net", "46", nil)
	confDir(t, n, list)
	pod, other := n.NewPod("web"), n.NewPod("other")
	n.MustAdd(pod, list)
	n.MustAdd(other, list)
	mapping := `[{"hostPort":8080,"containerPort":80},{"hostPort":40000,"containerPort":80,"protocol":"udp"}]`
	for name, frees := range map[string]func() (string, error){
		"gc": func() (string, error) { return cli(n, "gc") },
		"a DEL without runtimeConfig": func() (string, error) {
			out, errs, err := n.Call("DEL", pod, direct(n, pod, `[]`, ""))
			return out + errs, err
		},
		"another pod's ADD and DEL": func() (string, error) {
			return "", n.Del(other, list, addTo(n, other, list, lab.TCP(8081, 80))...)
		},
	} {
		killWhileHolding(t, n, pod, direct(n, pod, mapping, ""))
		if got := refusedAt(t, n.Netns, lab.Socket{Network: "tcp4", Addr: "0.0.0.0"}, []int{8080, 8081}); !slices.Equal(got, []int{8080}) {
			t.Fatalf("%s: held: %v", name, got)
		}
		out, err := cli(n, "gc", "--dry-run")
		want(t, "gc --dry-run", out, "would remove hostPort 40000/udp, 8080/tcp of an ADD that was killed (portguard)\n")
		if d, _ := diagnosis(t, n); !strings.Contains(d["reservation"].Message, "is held for no pod, because an ADD was killed") || d["reservation"].Severity != doctor.Warning {
			t.Errorf("doctor: %+v, %v", d["reservation"], err)
		}
		if out, err = frees(); err != nil || name == "gc" && out != "removed hostPort 40000/udp, 8080/tcp of an ADD that was killed (portguard)\n" {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if got := refusedAt(t, n.Netns, lab.Socket{Network: "tcp4", Addr: "0.0.0.0"}, []int{8080}); len(got) > 0 || n.ReadSysctl("net/ipv4/ip_local_reserved_ports") != "" {
			t.Errorf("%s: the ports are held still", name)
		}
		want(t, name+": held", n.Held(), "")
		if left, _ := filepath.Glob(n.Dir + "/state/.tmp-*"); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
		if out, err := cli(n, "gc"); err != nil || out != "Nothing is left of dead pods.\n" {
			t.Errorf("%s: gc: %v\n%s", name, err, out)
		}
	}
}

// addTo adds ports to a pod and returns them.
func addTo(n *lab.Node, p *lab.Pod, list string, ports ...lab.Port) []lab.Port {
	_ = n.Del(p, list)
	n.MustAdd(p, list, ports...)
	return ports
}

// killWhileHolding kills an ADD in the moment in which its ports are held and its record is not
// written: as soon as one of them is in ip_local_reserved_ports.
func killWhileHolding(t *testing.T, n *lab.Node, pod *lab.Pod, conf string) {
	t.Helper()
	for range 100 {
		cmd := n.Command(filepath.Join(n.Bin, "portguard"))
		cmd.Env = slices.Concat(n.Env, []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=" + pod.ID, "CNI_NETNS=" + pod.Path, "CNI_IFNAME=eth0", "CNI_PATH=" + n.Bin})
		cmd.Stdin = strings.NewReader(conf)
		var err error
		n.Do(func() {
			if err = cmd.Start(); err != nil {
				return
			}
			for range 20000 {
				if b, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports"); len(bytes.TrimSpace(b)) > 0 {
					break
				}
				time.Sleep(50 * time.Microsecond)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if records, _ := filepath.Glob(n.Dir + "/state/*.json"); len(records) == 0 && n.ReadSysctl("net/ipv4/ip_local_reserved_ports") != "" {
			return
		}
		if _, _, err := n.Call("DEL", pod, conf); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no ADD was killed in time")
}
