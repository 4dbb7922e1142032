// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// The DaemonSet of deploy/ installs portguard under running pods of portmap's, keeps it
// there, upgrades it, and takes it back when it is deleted, as far as no pod needs it.
func TestDeploy(t *testing.T) {
	s := begin(t)
	s.hostportsBy("portmap")
	plugin, list := the.File("/opt/cni/bin/portguard"), the.File("/etc/cni/net.d/10-e2e.conflist")
	kept := filepath.Join(filepath.Dir(list), ".10-e2e.conflist.portmap")
	before := s.read(list)
	defer s.hostportsBy("portguard")
	defer func() { s.must(the.Install("portguard", filepath.Join(the.Bin, "plugins", "portguard"))) }()
	s.must(os.Remove(plugin))
	s.run("old", spec("7600"))

	s.deploy("install")
	s.uses("portguard")
	want(t, "the list that was kept", s.read(kept), before)
	first := s.read(plugin)
	want(t, "a pod of portmap's is listed by", s.entry(7600).By, "portmap")
	s.run("new", spec("7601"))
	want(t, "a new pod is listed by", s.entry(7601).By, "portguard")
	s.answer("old:7600", "new:7601")

	// The network's own DaemonSet writes its list again.
	s.must(the.Conflist("portmap"))
	s.until("the list names portguard again", func() bool { return strings.Contains(s.read(list), `"portguard"`) })
	s.uses("portguard")

	// An upgrade is none: nothing is taken back in between.
	same, err := os.Stat(list)
	s.must(err)
	s.must(os.WriteFile(plugin+".older", []byte(first+"an older version"), 0o755))
	s.must(os.Rename(plugin+".older", plugin))
	s.kubectl("-n", "kube-system", "rollout", "restart", "ds/portguard")
	s.rolledOut()
	now, err := os.Stat(list)
	s.must(err)
	want(t, "the list is the same file after an upgrade", os.SameFile(same, now), true)
	want(t, "the plugin is the one of the image", s.read(plugin) == first, true)
	s.run("upgraded", spec("7602"))
	s.answer("old:7600", "new:7601", "upgraded:7602")
	_, err = os.Stat(the.File("/sys/fs/bpf/portguard"))
	want(t, "ports are held", err == nil, s.reserves())

	// Deleted with all that belongs to it, it gives new pods to portmap, and stays for those
	// that need it.
	s.kubectl("delete", "--wait", "-k", overlay("install"))
	s.uses("portmap", "portguard")
	s.run("back", spec("7603"))
	want(t, "a new pod is listed by", s.entry(7603).By, "portmap")
	s.answer("old:7600", "new:7601", "upgraded:7602", "back:7603")

	s.kubectl("apply", "-k", overlay("remove"))
	s.until("who needs portguard is said", func() bool {
		return s.installerSays("portguard is needed", "pod "+s.ns+"/new has hostPort 7601/tcp", "pod "+s.ns+"/upgraded")
	})
	s.remove("new", "upgraded")
	s.rolledOut()
	s.uses("portmap")
	s.gone(plugin, kept, before)
	s.answer("old:7600", "back:7603")
	s.kubectl("delete", "--wait", "-k", overlay("remove"))
	s.remove("old", "back")

	// Where no pod needs it, all is as before when the DaemonSet is.
	s.deploy("install")
	s.uses("portguard")
	s.kubectl("delete", "--wait", "-k", overlay("install"))
	s.until("the DaemonSet's pods are gone", func() bool { return len(s.installers()) == 0 })
	s.gone(plugin, kept, before)
}

// gone asks that nothing of the plugin is left, and that the list is the one of before.
func (s *story) gone(plugin, kept, before string) {
	s.Helper()
	want(s, "the list", s.read(filepath.Join(filepath.Dir(kept), "10-e2e.conflist")), before)
	for _, path := range []string{plugin, kept, the.File("/sys/fs/bpf/portguard")} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			s.Errorf("%s is left: %v", path, err)
		}
	}
	rules, _ := the.Exec("sh", "-c", "nft list tables; iptables-nft-save; iptables-legacy-save")
	if strings.Contains(strings.ToLower(rules), "portguard") || strings.Contains(rules, "PG") {
		s.Errorf("rules are left:\n%s", rules)
	}
}

// uses waits until the runtime has read a list with these plugins for hostPorts.
func (s *story) uses(plugins ...string) {
	s.Helper()
	cri := s.cri()
	defer cri.Close()
	s.until(fmt.Sprint("the runtime uses ", plugins), func() bool {
		status, err := cri.Status(s.Context(), &runtimeapi.StatusRequest{Verbose: true})
		if err != nil {
			return false
		}
		config := strings.ReplaceAll(status.Info["config"]+status.Info["cniconfig"], `\"`, `"`)
		for _, p := range []string{"portmap", "portguard"} {
			if strings.Contains(config, `"type":"`+p+`"`) != slices.Contains(plugins, p) {
				return false
			}
		}
		return true
	})
}

// overlay is one of deploy's, for the folders of the node.
func overlay(name string) string {
	return filepath.Join(repository(), "deploy", "overlays", "opt-cni-bin", name)
}

// repository is portguard's.
func repository() string { return filepath.Join(filepath.Dir(the.Bin), "..", "..", "..") }

// deploy applies an overlay and waits until it is rolled out.
func (s *story) deploy(name string) {
	s.Helper()
	s.kubectl("apply", "-k", overlay(name))
	s.rolledOut()
}

func (s *story) rolledOut() {
	s.Helper()
	s.kubectl("-n", "kube-system", "rollout", "status", "ds/portguard", "--timeout=5m")
}

func (s *story) kubectl(args ...string) string {
	s.Helper()
	out, err := the.Kubectl(args...)
	s.must(err)
	return out
}

// installers are the pods of the DaemonSet.
func (s *story) installers() []corev1.Pod {
	s.Helper()
	pods, err := the.CoreV1().Pods("kube-system").List(s.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=portguard"})
	s.must(err)
	return pods.Items
}

// installerSays reports whether the log of the init container has all of the words.
func (s *story) installerSays(words ...string) bool {
	s.Helper()
	for _, p := range s.installers() {
		log, err := the.CoreV1().Pods("kube-system").GetLogs(p.Name, &corev1.PodLogOptions{Container: "install"}).DoRaw(s.Context())
		missing := false
		for _, w := range words {
			missing = missing || !bytes.Contains(log, []byte(w))
		}
		if err == nil && !missing {
			return true
		}
	}
	return false
}

func (s *story) read(path string) string {
	s.Helper()
	b, err := os.ReadFile(path)
	s.must(err)
	return string(b)
}

// answer asks pods on their hostPorts, "name:port".
func (s *story) answer(pods ...string) {
	s.Helper()
	for _, p := range pods {
		name, port, _ := strings.Cut(p, ":")
		want(s, "port "+port, s.name(client, "tcp", node.V4+":"+port), name)
	}
}
