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
	defer s.portguardAgain()
	f := s.onlyPortmap()
	s.run("old", spec("7600"))

	s.deploy("install", system)
	s.uses("portguard")
	want(t, "the list that was kept", s.read(f.kept), f.before)
	first := s.read(f.plugin)
	want(t, "a pod of portmap's is listed by", s.entry(7600).By, "portmap")
	s.run("new", spec("7601"))
	want(t, "a new pod is listed by", s.entry(7601).By, "portguard")
	s.answer("old:7600", "new:7601")

	// The network's own DaemonSet writes its list again.
	s.must(the.Conflist("portmap"))
	s.until("the list names portguard again", func() bool { return strings.Contains(s.read(f.list), `"portguard"`) })
	s.uses("portguard")

	// An upgrade is none: nothing is taken back in between.
	same, err := os.Stat(f.list)
	s.must(err)
	s.must(os.WriteFile(f.plugin+".older", []byte(first+"an older version"), 0o755))
	s.must(os.Rename(f.plugin+".older", f.plugin))
	s.replaceInstaller(system)
	now, err := os.Stat(f.list)
	s.must(err)
	want(t, "the list is the same file after an upgrade", os.SameFile(same, now), true)
	want(t, "the plugin is the one of the image", s.read(f.plugin) == first, true)
	s.run("upgraded", spec("7602"))
	s.answer("old:7600", "new:7601", "upgraded:7602")
	_, err = os.Stat(the.File("/sys/fs/bpf/portguard"))
	want(t, "ports are held", err == nil, s.reserves())

	// Deleted with all that belongs to it, it gives new pods to portmap, and stays for those
	// that need it.
	s.kubectl("delete", "--wait", "-f", s.manifest("install", system))
	s.uses("portmap", "portguard")
	s.run("back", spec("7603"))
	want(t, "a new pod is listed by", s.entry(7603).By, "portmap")
	s.answer("old:7600", "new:7601", "upgraded:7602", "back:7603")

	s.kubectl("apply", "-f", s.manifest("remove", system))
	s.until("who needs portguard is said", func() bool {
		return s.installerSays("portguard is needed", "pod "+s.ns+"/new has hostPort 7601/tcp", "pod "+s.ns+"/upgraded")
	})
	s.remove("new", "upgraded")
	s.rolledOut(system)
	s.uses("portmap")
	s.gone(f)
	s.answer("old:7600", "back:7603")
	s.kubectl("delete", "--wait", "-f", s.manifest("remove", system))
	s.remove("old", "back")

	// Where no pod needs it, all is as before when the DaemonSet is.
	s.deploy("install", system)
	s.uses("portguard")
	s.kubectl("delete", "--wait", "-f", s.manifest("install", system))
	s.until("the DaemonSet's pods are gone", func() bool { return len(s.installers()) == 0 })
	s.gone(f)
}

// The DaemonSet has a namespace of its own. Without an answer of the API, or the right to ask,
// nothing is taken back; with the namespace all is.
func TestDeployNamespace(t *testing.T) {
	s := begin(t)
	defer s.portguardAgain()
	f := s.onlyPortmap()
	const own = "portguard-own"
	s.kubectl("create", "namespace", own)
	s.deploy("install", own)
	s.uses("portguard")
	same, err := os.Stat(f.list)
	s.must(err)

	s.must(the.Freeze("kube-apiserver", s.stopInstaller))
	s.until("the installer runs again", func() bool { return s.installer() != "" })
	s.kubectl("-n", own, "delete", "rolebinding", "portguard")
	s.stopInstaller()
	now, err := os.Stat(f.list)
	s.must(err)
	want(t, "the list is the same file", os.SameFile(same, now), true)

	s.kubectl("apply", "-f", s.manifest("install", own))
	s.replaceInstaller(own)
	s.kubectl("delete", "namespace", own)
	s.gone(f)
}

// stopInstaller tells container "keep" to end, as the kubelet does, and waits for its end.
func (s *story) stopInstaller() {
	s.Helper()
	cri := s.cri()
	defer cri.Close()
	_, err := cri.StopContainer(s.Context(), &runtimeapi.StopContainerRequest{ContainerId: s.installer(), Timeout: 30})
	s.must(err)
}

// installer is the container that keeps portguard on the node, "" if it does not run.
func (s *story) installer() string {
	s.Helper()
	cri := s.cri()
	defer cri.Close()
	list, err := cri.ListContainers(s.Context(), &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		State:         &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
		LabelSelector: map[string]string{"io.kubernetes.container.name": "keep"},
	}})
	s.must(err)
	if len(list.Containers) == 0 {
		return ""
	}
	return list.Containers[0].Id
}

// files are those that deploy/ changes on the node.
type files struct{ plugin, list, kept, before string }

// onlyPortmap takes portguard off the node, where only the image of deploy/ has it then, and
// portguardAgain brings it back.
func (s *story) onlyPortmap() files {
	s.Helper()
	s.must(the.Import(s.Context(), "portguard-image-*.tar"))
	s.hostportsBy("portmap")
	f := files{plugin: the.File("/opt/cni/bin/portguard"), list: the.File("/etc/cni/net.d/10-e2e.conflist")}
	f.kept = filepath.Join(filepath.Dir(f.list), ".10-e2e.conflist.portmap")
	f.before = s.read(f.list)
	s.must(os.Remove(f.plugin))
	return f
}

func (s *story) portguardAgain() {
	s.Helper()
	s.must(the.Install("portguard", filepath.Join(the.Bin, "plugins", "portguard")))
	s.hostportsBy("portguard")
}

// gone asks that nothing of the plugin is left, and that the list is the one of before.
func (s *story) gone(f files) {
	s.Helper()
	want(s, "the list", s.read(f.list), f.before)
	for _, path := range []string{f.plugin, f.kept, the.File("/sys/fs/bpf/portguard")} {
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

// system is the namespace that deploy/ names.
const system = "kube-system"

// manifest is an overlay of deploy/ for the folders of the node, in a namespace. This runtime
// sees a new list at once, so that nobody has to be given five seconds.
func (s *story) manifest(overlay, namespace string) string {
	s.Helper()
	text := s.kubectl("kustomize", filepath.Join(repository(), "deploy", "overlays", "opt-cni-bin", overlay))
	text = strings.ReplaceAll(text, "namespace: kube-system", "namespace: "+namespace)
	text = strings.ReplaceAll(text, "- --mounts=", "- --grace=1s\n        - --mounts=")
	path := filepath.Join(s.TempDir(), overlay+".yaml")
	s.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// repository is portguard's.
func repository() string { return filepath.Join(filepath.Dir(the.Bin), "..", "..", "..") }

// deploy applies an overlay and waits until it is rolled out.
func (s *story) deploy(overlay, namespace string) {
	s.Helper()
	s.kubectl("apply", "-f", s.manifest(overlay, namespace))
	s.rolledOut(namespace)
}

func (s *story) rolledOut(namespace string) {
	s.Helper()
	s.kubectl("-n", namespace, "rollout", "status", "ds/portguard", "--timeout=5m")
}

// replaceInstaller replaces the pods of the DaemonSet, as an upgrade does.
func (s *story) replaceInstaller(namespace string) {
	s.Helper()
	s.kubectl("-n", namespace, "rollout", "restart", "ds/portguard")
	s.rolledOut(namespace)
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
