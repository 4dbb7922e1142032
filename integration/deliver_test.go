// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
)

// deaf are commands that run another one with a stdout that takes nothing.
func deaf(dir string) map[string][]string {
	sh := func(script string) []string { return []string{"sh", "-c", script, "sh"} }
	return map[string][]string{
		"a full device": sh(`exec "$@" >/dev/full`),
		"a closed file": sh(`exec "$@" >&-`),
		"a closed pipe": sh(fmt.Sprintf(`rm -f %[1]s/p; mkfifo %[1]s/p; exec 3<>%[1]s/p 1>%[1]s/p 3>&-; exec "$@"`, dir)),
		"no output":     sh(fmt.Sprintf(`rm -f %[1]s/p; mkfifo %[1]s/p; exec 3<>%[1]s/p 1>%[1]s/p 2>%[1]s/p 3>&-; exec "$@"`, dir)),
	}
}

// An ADD whose result cannot be delivered leaves everything as it was, whatever that was,
// in every backend; so does one for a pod without hostPorts.
func TestUndelivered(t *testing.T) {
	t.Parallel()
	ports := func(container int) string {
		return fmt.Sprintf(`[{"hostPort":8080,"containerPort":%d},{"hostPort":8080,"containerPort":%d,"protocol":"udp"}]`, container, container)
	}
	const native = `,"conditionsV4":["ip","saddr","{ 192.0.2.2, 192.0.2.7 }"],"conditionsV6":["ip6","saddr","2001:db8:2::2"]`
	const words = `,"backend":"iptables","conditionsV4":["-s","192.0.2.0/24","-m","statistic","--mode","nth","--every","2","--packet","0"],"conditionsV6":["!","-s","2001:db8:2::7"]`
	for _, tc := range []struct {
		name, flavour, first, second string
		dead                         bool
	}{
		{"a first ADD", "nft", "", "", false},
		{"a first ADD in iptables-nft", "nft", "", `,"backend":"iptables"`, false},
		{"a first ADD in iptables-legacy", "legacy", "", `,"backend":"iptables"`, false},
		{"other conditions", "nft", native, strings.ReplaceAll(native, "192.0.2.7", "192.0.2.8"), false},
		{"other conditions in iptables-nft", "nft", words, strings.ReplaceAll(words, `"0"`, `"1"`), false},
		{"no conditions in iptables-legacy", "legacy", words, `,"backend":"iptables"`, false},
		{"a take-over of conditions", "nft", native, "", true},
		{"a take-over in iptables-nft", "nft", words, `,"backend":"iptables"`, true},
		{"a move to iptables", "nft", native, `,"backend":"iptables"`, false},
		{"a move from iptables", "nft", words, "", false},
		{"localhost is switched off", "nft", "", `,"localhost":false`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNode(t, "", tc.flavour)
			first, pod := n.NewPod("first"), n.NewPod("pod")
			link(n, pod)
			if !tc.dead {
				first = pod
			}
			if tc.dead || tc.first != "" {
				mustCall(t, n, "ADD", first, direct(n, first, ports(80), tc.first))
			}
			if tc.dead {
				first.Delete()
			}
			before, files, sysctl := tables(n), records(t, n), n.ReadSysctl("net/ipv4/conf/pod0/route_localnet")
			for name, wrap := range deaf(n.Dir) {
				if tc.first+tc.second != "" && name != "a full device" {
					continue
				}
				out, errs, err := n.Call("ADD", pod, direct(n, pod, ports(90), tc.second), wrap...)
				if err == nil || err.Error() != "exit status 1" || out != "" || name != "no output" && !strings.Contains(errs, "could not hand the result to the container runtime") {
					t.Fatalf("%s: %v %q %q", name, err, out, errs)
				}
				if diff := cmp.Diff(before, tables(n)); diff != "" {
					t.Errorf("rules (-before +after)\n%s", diff)
				}
				want(t, "records", records(t, n), files)
				want(t, "route_localnet", n.ReadSysctl("net/ipv4/conf/pod0/route_localnet"), sysctl)
			}
			if tc.first != "" && !tc.dead {
				mustCall(t, n, "CHECK", pod, direct(n, pod, ports(80), tc.first))
			}
			mustCall(t, n, "ADD", pod, direct(n, pod, ports(90), tc.second))
			mustCall(t, n, "CHECK", pod, direct(n, pod, ports(90), tc.second))
			for _, p := range []*lab.Pod{pod, first} {
				mustCall(t, n, "DEL", p, bare(n))
			}
			unchanged(t, n, "")
		})
	}
	n := newNode(t, "", "nft")
	pod := n.NewPod("plain")
	for name, wrap := range deaf(n.Dir) {
		if out, _, err := n.Call("ADD", pod, direct(n, pod, "[]", ""), wrap...); err == nil || err.Error() != "exit status 1" {
			t.Errorf("%s without hostPorts: %v %s", name, err, out)
		}
	}
}

// A tool that ends before it has read everything is an error of its own, and neither it nor
// the collection of garbage takes the numbers of stdin, stdout and stderr from the plugin: by
// the last two a broken pipe ends a process.
func TestToolThatDoesNotRead(t *testing.T) {
	t.Parallel()
	n := newNode(t, "", "nft")
	n.Env = append(n.Env, "GOGC=1")
	pod := n.NewPod("pod")
	conf := direct(n, pod, `[{"hostPort":8080,"containerPort":80}]`, `,"backend":"iptables"`)
	n.Shadow("iptables-nft-restore", "echo 'line 5 failed' >&2; exit 1")
	for range 10 {
		if out, _, err := n.Call("ADD", pod, conf); err == nil || !strings.Contains(out, "could not change the iptables-nft rules") {
			t.Fatalf("%v %q", err, out)
		}
	}
	n.Unshadow("iptables-nft-restore")
	mustCall(t, n, "ADD", pod, conf)
	mustCall(t, n, "DEL", pod, bare(n))
}

// tables are all rules by table: nft lists tables as they were made.
func tables(n *lab.Node) []string {
	n.T.Helper()
	all := regexp.MustCompile(`(?m)^(table|==|\*)`).ReplaceAllString(n.Rules(), "\x00$1")
	return slices.Sorted(strings.SplitSeq(all, "\x00"))
}

// records are the contents of all records.
func records(t *testing.T, n *lab.Node) string {
	t.Helper()
	return n.Run("sh", "-c", fmt.Sprintf("cat %s/state/*.json 2>/dev/null || true", n.Dir))
}
