// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/inventory"
)

// confDir writes the conflist where the command line looks for it.
func confDir(t *testing.T, n *lab.Node, list string) string {
	t.Helper()
	dir := filepath.Join(n.Dir, "net.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "10-net.conflist"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cli runs portguard on the node as a person does, and returns its stdout.
func cli(n *lab.Node, args ...string) (string, error) {
	return n.Try("", slices.Concat([]string{"sh", "-c", `exec "$0" "$@" 2>/dev/null`, filepath.Join(n.Bin, "portguard")}, args,
		[]string{"--conf-dir", n.Dir + "/net.d", "--cache-dir", n.Dir + "/cache"})...)
}

// ask is explain for one port.
func ask(t *testing.T, n *lab.Node, port string) explain.Answer {
	t.Helper()
	out, _ := cli(n, "explain", port, "-o", "json")
	var doc struct {
		Version int
		Answers []explain.Answer
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Version != 1 || len(doc.Answers) != 1 {
		t.Fatalf("explain %s: %v\n%s", port, err, out)
	}
	return doc.Answers[0]
}

// What explain says of a packet is what happens to it, from each side and for
// each address; and what it says of a new hostPort is what ADD decides.
func TestExplainIsTrue(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		t.Parallel() // most of the time it waits for what is lost
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		pods := map[string]*lab.Pod{}
		for name, ports := range map[string][]lab.Port{
			"web":     {lab.TCP(8080, 80)},
			"one":     {lab.TCP(8081, 80).On(lab.NodeV4)},
			"later":   {lab.TCP(9000, 80)},
			"shadow":  {lab.TCP(30080, 80)},
			"six":     {lab.TCP(8084, 80).On(lab.NodeV6)},
			"backend": nil,
			"dead":    {lab.TCP(8089, 80)},
			"link":    {lab.TCP(8093, 80), lab.TCP(8094, 80)},
		} {
			pods[name] = n.NewPod(name)
			if name != "dead" { // a socket would keep its namespace alive
				pods[name].Serve(80, name)
			}
			if name == "later" { // a listener comes later
				n.MustAdd(pods[name], n.Network("net", "46", lab.Conf{"reserve": "off"}), ports...)
				continue
			}
			n.MustAdd(pods[name], list, ports...)
		}
		n.KubeProxy(pods["backend"].V4 + ":80")
		n.ServeTCP("tcp", ":9000", "host")            // came later than the pod
		n.ServeTCP("tcp", "127.0.0.1:8085", "host")   // only for the node itself
		n.ServeTCP("tcp", lab.NodeV4+":8086", "host") // on one address
		n.ServeTCP("tcp", "[::]:8087", "host")
		n.Foreign("", "PREROUTING", "-p tcp --dport 8088 -j DNAT --to-destination "+pods["backend"].V4+":80")
		n.Foreign("", "PREROUTING", "-p tcp -s "+lab.ClientV4+" --dport 8083 -j DNAT --to-destination "+pods["backend"].V4+":80")
		n.Feed("table ip mine { chain p { type nat hook prerouting priority -110;\n tcp dport 8082 dnat to "+pods["backend"].V4+":80\n }\n }", "nft", "-f", "-")
		n.Run("ip", "link", "add", "docker0", "type", "bridge")
		n.Foreign("", "PREROUTING", "! -i docker0 -p tcp --dport 8091 -j DNAT --to-destination "+pods["backend"].V4+":80")
		// Both came later, and there is no docker9.
		n.Foreign("", "PREROUTING", "! -i docker9 -p tcp --dport 8093 -j DNAT --to-destination "+pods["backend"].V4+":80")
		n.Foreign("", "PREROUTING", "-i docker9 -p tcp --dport 8094 -j DNAT --to-destination "+pods["backend"].V4+":80")
		// For one link only, by which all come from outside.
		n.Foreign("", "PREROUTING", "-i eth0 -p tcp --dport 8095 -j DNAT --to-destination "+pods["backend"].V4+":80")
		for _, half := range []string{"-m statistic --mode random --probability 0.5 ", ""} { // two endpoints
			n.Foreign("", "PREROUTING", "-p tcp --dport 8092 "+half+"-j DNAT --to-destination "+pods["backend"].V4+":80")
		}
		pods["dead"].Delete()
		held, state := n.Rules(), files(t, n.Dir+"/state")
		for _, port := range []int{8080, 8081, 8082, 8083, 8084, 8085, 8086, 8087, 8088, 8089, 8091, 8092, 8093, 8094, 8095, 9000, 30080, 30082, 7777} {
			a := ask(t, n, fmt.Sprintf("%d/tcp", port))
			sides(t, n, pods["six"], a)
			t.Logf("%d: %s", port, strings.Join(a.Decision.Refusals, " | "))
		}
		for _, port := range []string{"8091/tcp", "8092/tcp", "8093/tcp", "8094/tcp", "8095/tcp", "30080/tcp"} {
			for _, o := range ask(t, n, port).Outside {
				if len(o.Unless) > 0 {
					t.Errorf("%s: all packets from outside are taken, and explain says %+v", port, o)
				}
			}
		}
		if e := listed(t, n)["0.0.0.0 8094/tcp"]; e.State != inventory.OK {
			t.Errorf("a rule for a link that is not there: list says %+v", e)
		}
		if e := listed(t, n)["0.0.0.0 8093/tcp"]; e.State != inventory.Shadowed || n.Native() != strings.Contains(e.Reason, "takes its traffic") {
			t.Errorf("a rule for all links but one that is not there: list says %+v", e)
		}
		unchanged(t, n, held)
		if now := files(t, n.Dir+"/state"); !slices.Equal(now, state) {
			t.Errorf("explain changed the state directory: %v, was %v", now, state)
		}
		for _, port := range []int{8080, 8081, 8082, 8083, 8085, 8086, 8087, 8088, 8089, 9000, 30080, 30082, 7777} {
			asADD(t, n, list, port)
		}
	})
}

// sides sends a packet for each outcome, all at once: one that is lost is waited for.
func sides(t *testing.T, n *lab.Node, pod *lab.Pod, a explain.Answer) {
	t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	for side, s := range map[string]struct {
		outs []explain.Outcome
		from *lab.Netns
	}{"outside": {a.Outside, n.Client}, "localhost": {a.Localhost, n.Netns}, "pod": {a.Pod, pod.Netns}} {
		for _, o := range s.outs {
			if len(o.Unless) > 0 || side == "pod" && (o.Kind == "natRule" || ofOthers(o, pod)) {
				continue // it depends; a neighbour's answer does not come back through the node
			}
			for _, addr := range o.Addresses {
				to := netip.AddrPortFrom(netip.MustParseAddr(addr), a.Port)
				all.Go(func() {
					got := s.from.Who("tcp", to.String())
					if want := answerer(o); got != want {
						t.Errorf("%s, %s to %s: explain says %q, and %q answers", a.Question, side, to, o.Gets, got)
					}
				})
			}
		}
	}
}

// answerer is the server behind an outcome.
func answerer(o explain.Outcome) string {
	switch {
	case o.Kind == "nobody", strings.HasPrefix(o.Gets, "nobody"), o.Unheard != "":
		return ""
	case o.Kind == "hostPort":
		name, _, _ := strings.Cut(strings.TrimPrefix(o.Gets, "pod default/"), " ")
		return name
	case o.Kind == "listener":
		return "host"
	}
	return "backend"
}

// ofOthers reports whether an outcome is not that of packets of a pod, because it is that of the
// pod itself which has the port, or is not.
func ofOthers(o explain.Outcome, pod *lab.Pod) bool {
	name, _, _ := strings.Cut(pod.ID, "-")
	other := map[bool]string{true: "from another pod", false: "from the pod itself"}[strings.Contains(o.Gets, "pod default/"+name+" ")]
	return len(o.From) > 0 && !slices.ContainsFunc(o.From, func(by string) bool { return !strings.HasSuffix(by, other) })
}

// asADD compares the decision with that of an ADD.
func asADD(t *testing.T, n *lab.Node, list string, port int) {
	t.Helper()
	asADDOf(t, n, list, lab.TCP(port, 80))
}

// asADDOf does it for a port that may have a hostIP.
func asADDOf(t *testing.T, n *lab.Node, list string, port lab.Port) explain.Answer {
	t.Helper()
	q := fmt.Sprint(port.HostPort)
	if port.HostIP != "" {
		q = net.JoinHostPort(port.HostIP, q)
	}
	a := ask(t, n, q+"/tcp")
	p := n.NewPod("asked")
	_, err := n.Add(p, list, port)
	var e *types.Error
	switch {
	case err == nil && !a.Decision.Allowed:
		t.Errorf("%s: ADD allows what explain says is refused: %v", q, a.Decision.Refusals)
	case err == nil:
		_ = n.Del(p, list)
	case a.Decision.Allowed:
		t.Errorf("%s: ADD refuses what explain says is allowed: %v", q, err)
	case !errors.As(err, &e) || !strings.HasSuffix(e.Msg, a.Decision.Refusals[0]) || e.Code != a.Decision.Code:
		t.Errorf("%s: ADD says %v, explain %d %q", q, err, a.Decision.Code, a.Decision.Refusals[0])
	}
	return a
}

// What an ADD refuses for its hostIP alone explain refuses too, whatever the policy.
func TestExplainOfUnfit(t *testing.T) {
	t.Parallel()
	n := lab.NewNode(t, bin, "nft")
	for _, tt := range []struct {
		conf lab.Conf
		bad  []string
		good []string
	}{
		{lab.Conf{}, []string{"::1", "fe80::1", "255.255.255.255", "240.0.0.1", "0.0.0.5", "224.0.0.1", "192.0.2.255"}, []string{"127.0.0.1", lab.NodeV4, "198.51.100.1", "0.0.0.0"}},
		{lab.Conf{"excludeCIDRs": []string{lab.NodeV4}, "conflictPolicy": "warn"}, []string{lab.NodeV4}, []string{lab.NodeV6}},
		{lab.Conf{"localhost": false}, []string{"127.0.0.1"}, []string{lab.NodeV4}},
		{lab.Conf{"snat": false}, []string{"127.0.0.2"}, []string{lab.NodeV4}},
	} {
		list := n.Network("net", "46", tt.conf)
		confDir(t, n, list)
		for _, ip := range tt.bad {
			if a := asADDOf(t, n, list, lab.TCP(8080, 80).On(ip)); a.Decision.Allowed || a.Decision.Code != types.ErrInvalidNetworkConfig {
				t.Errorf("%v, %s: explain says %+v", tt.conf, ip, a.Decision)
			}
		}
		for _, ip := range tt.good {
			if a := asADDOf(t, n, list, lab.TCP(8080, 80).On(ip)); !a.Decision.Allowed {
				t.Errorf("%v, %s: explain says %+v", tt.conf, ip, a.Decision)
			}
		}
	}
}

// Who has bound a port and does not listen yet is found by both, where an ADD holds ports.
func TestExplainOfBound(t *testing.T) {
	t.Parallel()
	n := newNode(t, "", "nft")
	s := lab.Socket{Network: "tcp4"}
	n.Do(func() {
		fd, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := s.Bind(fd, 7015); err != nil {
			t.Fatal(err)
		}
	})
	list := n.Network("net", "46", nil)
	confDir(t, n, list)
	a := asADDOf(t, n, list, lab.TCP(7015, 80))
	if a.Decision.Code != 100 || !strings.Contains(a.Decision.Refusals[0], "is about to listen on") {
		t.Errorf("explain says %+v", a.Decision)
	}
	for _, o := range slices.Concat(a.Outside, a.Localhost, a.Pod) {
		if o.Kind != "nobody" {
			t.Errorf("nobody listens yet, and explain says %+v", o)
		}
	}
	list = n.Network("net", "46", lab.Conf{"reserve": "off"})
	confDir(t, n, list)
	if a := asADDOf(t, n, list, lab.TCP(7015, 80)); !a.Decision.Allowed {
		t.Errorf("without a reservation explain says %+v", a.Decision)
	}
}

// files lists a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
