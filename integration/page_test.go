// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/integration/lab"
)

const troubleshooting = "../docs/troubleshooting.md"

// A situation is a node of which the page shows what commands say there. Its
// method try runs the commands of a marked block of the page, and compares.
type situation struct {
	t    *testing.T
	n    *lab.Node
	list string
	used map[string]bool
	// last is the pod that was started last.
	last *lab.Pod
	// told is what plugins said.
	told sayings
}

func newSituation(t *testing.T, used map[string]bool) *situation {
	t.Helper()
	s := &situation{t: t, n: newNode(t, "", "nft"), used: used}
	s.n.Shadow("portguard", fmt.Sprintf(`exec %s/portguard "$@" --conf-dir %[2]s/net.d --data-dir %[2]s/state --cache-dir %[2]s/cache`, s.n.Bin, s.n.Dir))
	inMemory(t, s.n)
	if err := os.MkdirAll(s.n.Dir+"/cache", 0o700); err != nil {
		t.Fatal(err)
	}
	s.conflist(nil)
	return s
}

// conflist is what the runtime uses from now on.
func (s *situation) conflist(conf lab.Conf) {
	s.t.Helper()
	s.list = s.n.Network("k8s-pod-network", "46", conf)
	if err := os.MkdirAll(s.n.Dir+"/net.d", 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.n.Dir+"/net.d/10-k8s.conflist", []byte(s.list), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// called gives the listeners of this process a name.
func (s *situation) called(name string) {
	s.t.Helper()
	file := fmt.Sprintf("/proc/%d/comm", os.Getpid())
	was, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(name), 0)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.WriteFile(file, was, 0) })
}

// patience is how often a busy machine is asked for the name of a listener, which
// portguard looks for only so long.
const patience = 5

func nameless(out string) bool { return strings.Contains(out, "no process found") }

// pod starts one with hostPorts, and notes what is said.
func (s *situation) pod(name string, ports ...lab.Port) *lab.Pod {
	s.t.Helper()
	var p *lab.Pod
	var out string
	var err error
	for range patience {
		p = s.n.NewPod(name)
		if out, err = s.n.Add(p, s.list, ports...); !nameless(out + fmt.Sprint(err)) {
			break
		}
		_ = s.n.Del(p, s.list, ports...)
	}
	if s.hear(out, err); err == nil {
		p.Serve(80, name)
		s.last = p
	}
	return p
}

// A saying is a message with its CNI code, 0 if it is a warning.
type saying struct {
	code uint
	text string
}

type sayings []saying

// hear notes what was said.
func (s *situation) hear(stderr string, err error) {
	for line := range strings.Lines(stderr) {
		s.told = append(s.told, saying{0, s.plain(line)})
	}
	var ce *types.Error
	if errors.As(err, &ce) {
		s.told = append(s.told, saying{ce.Code, s.plain(err.Error())})
	}
}

// has reports whether the message that the page shows was said with that code.
func (all sayings) has(code, shows string) bool {
	shows = lines([]string{"..." + shows})[0]
	return slices.ContainsFunc(all, func(x saying) bool {
		return (x.code == 0 || fmt.Sprint(x.code) == code) && like(shows, lines([]string{x.text})[0])
	})
}

// says wants the last thing that a plugin said to be what the page shows.
func (s *situation) says(name string) {
	s.t.Helper()
	if len(s.told) == 0 {
		s.t.Errorf("%s: nothing was said", name)
		return
	}
	s.compare(name, s.block("says", name), []string{s.told[len(s.told)-1].text})
}

// try runs the commands of a block of the page ("$ command"), and compares what
// they say with what stands behind them.
func (s *situation) try(name string) {
	s.t.Helper()
	var shows []string
	command := ""
	check := func() {
		if command != "" {
			var out string
			for range patience {
				if out, _ = s.n.Try("", "sh", "-c", command); !nameless(out) {
					break
				}
			}
			s.compare(name+": "+command, shows, strings.Split(s.plain(out), "\n"))
		}
		shows = nil
	}
	for _, line := range s.block("try", name) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			check()
			command = c
			continue
		}
		shows = append(shows, line)
	}
	check()
}

func (s *situation) page() string {
	s.t.Helper()
	b, err := os.ReadFile(troubleshooting)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// block returns the lines of the fenced block behind a marker.
func (s *situation) block(kind, name string) []string {
	s.t.Helper()
	_, rest, found := strings.Cut(s.page(), fmt.Sprintf("<!-- %s: %s -->\n```text\n", kind, name))
	text, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		s.t.Fatalf("%s has no block %q", troubleshooting, name)
	}
	s.used[name] = true
	return strings.Split(text, "\n")
}

// plain takes away what differs from run to run.
func (s *situation) plain(out string) string {
	return strings.NewReplacer(s.n.Dir+"/net.d", "/etc/cni/net.d", s.n.Dir+"/state", "/run/cni/portguard").Replace(strings.TrimSpace(out))
}

// compare wants out to be the lines that the page shows, in which "..." stands
// for anything: within a line, or alone for any number of lines.
func (s *situation) compare(what string, shows, out []string) {
	s.t.Helper()
	shows, out = lines(shows), lines(out)
	all, skip := out, false
	for _, want := range shows {
		if want == "..." {
			skip = true
			continue
		}
		i := slices.IndexFunc(out, func(got string) bool { return like(want, got) })
		if i < 0 || i > 0 && !skip {
			s.t.Errorf("%s: the page shows\n  %s\nand it says\n  %s", what, want, strings.Join(all, "\n  "))
			return
		}
		out, skip = out[i+1:], false
	}
	if len(out) > 0 && !skip {
		s.t.Errorf("%s: the page does not show\n  %s", what, strings.Join(out, "\n  "))
	}
}

// lines drops what is empty or about progress, and makes one of all spaces, process
// numbers, times and ages.
func lines(in []string) (out []string) {
	progress := regexp.MustCompile(`^portguard: .* \(\d+ s\)$`)
	vary := regexp.MustCompile(`pid[ =]\d+|fd=\d+| \d+[smh] |inode \d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	for _, l := range in {
		l = strings.Join(strings.Fields(l), " ")
		if l = vary.ReplaceAllString(l, " # "); l != "" && !progress.MatchString(l) {
			out = append(out, l)
		}
	}
	return out
}

// like matches a line with one of the page.
func like(want, got string) bool {
	parts := strings.Split(want, "...")
	for i, p := range parts {
		p = strings.TrimSpace(p)
		at := strings.Index(got, p)
		if at < 0 || i == 0 && at > 0 {
			return false
		}
		got = got[at+len(p):]
	}
	return len(parts) > 1 && parts[len(parts)-1] == "" || strings.TrimSpace(got) == ""
}

// ipvs gives the node the shape of kube-proxy's ipvs mode, with one Service.
func (s *situation) ipvs() {
	s.n.Run("ip", "link", "add", "kube-ipvs0", "type", "bridge")
	s.n.Run("ip", "addr", "add", "10.96.0.20/32", "dev", "kube-ipvs0")
	s.n.Run("ipset", "create", "KUBE-CLUSTER-IP", "hash:ip,port")
	s.n.Run("ipset", "create", "KUBE-IPVS-IPS", "hash:ip")
	s.n.Run("ipset", "add", "KUBE-CLUSTER-IP", "10.96.0.20,tcp:3306")
	s.n.Run("ipset", "add", "KUBE-IPVS-IPS", "10.96.0.20")
	s.n.Foreign("", "KUBE-SERVICES", "-m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT")
	s.n.Foreign("", "PREROUTING", "-j KUBE-SERVICES")
	s.n.Foreign("", "OUTPUT", "-j KUBE-SERVICES")
	s.called("mysql-service")
	s.n.ServeTCP("tcp4", "10.96.0.20:3306", "service")
}

// kubeProxy loads the rules of a real kube-proxy.
func (s *situation) kubeProxy() {
	s.n.Run("ip", "addr", "add", "10.99.0.50/32", "dev", "eth0")
	for _, v := range []string{"", "6"} {
		var rules strings.Builder
		for line := range strings.Lines(fixture(s.t, "proxy-iptables-nft.ip"+v+"tables-nft-save")) {
			if !strings.Contains(line, "nfacct") { // made by a tool that is not everywhere
				rules.WriteString(line)
			}
		}
		s.n.Feed(rules.String(), "ip"+v+"tables-restore", "--noflush")
	}
}
