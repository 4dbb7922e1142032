// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// A workload is a way to replace the pod that has a hostPort.
type workload struct {
	name    string
	port    string
	make    func(s *story, name string, template corev1.PodTemplateSpec) error
	replace func(s *story, name string) error
}

// patch is what changes a template: its pods are replaced.
const patch = `{"spec":{"template":{"metadata":{"annotations":{"version":"2"}}}}}`

// updates are told beside each other: mostly they wait for the old pod's end.
var updates = []workload{
	{"daemonset", "7100", daemonSet, func(s *story, name string) error {
		_, err := the.AppsV1().DaemonSets(s.ns).Patch(s.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}},
	{"deployment", "7101", deployment, func(s *story, name string) error {
		_, err := the.AppsV1().Deployments(s.ns).Patch(s.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}},
	{"statefulset", "7102", statefulSet, func(s *story, name string) error {
		_, err := the.AppsV1().StatefulSets(s.ns).Patch(s.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}},
	{"forced-deployment", "7103", deployment, force},
	{"forced-statefulset", "7104", statefulSet, force},
}

// Pods are replaced: the port is away hardly longer than with portmap, nobody is stuck,
// and no event calls a pod the holder of its own port.
func TestUpdates(t *testing.T) {
	s := begin(t)
	away := map[string]map[string]time.Duration{"portmap": {}, "portguard": {}}
	// As with the hundred pods, the shortest of each are compared.
	var longer string
	for range 3 {
		s.besidePortmap(func(plugin string) { s.replaced(away[plugin]) })
		longer = ""
		for name, portmaps := range away["portmap"] {
			ours := away["portguard"][name]
			t.Logf("%s: the port is away %v, with portmap %v", name, ours, portmaps)
			if ours > portmaps+time.Second {
				longer = name
			}
		}
		if longer == "" {
			break
		}
	}
	want(t, "the port is away too long", longer, "")
	s.noneFailed()
}

// replaced replaces the pods of all workloads and says for how long nobody answered.
func (s *story) replaced(away map[string]time.Duration) {
	s.Helper()
	var before []types.UID
	var probes []*probe
	for _, w := range updates {
		s.must(w.make(s, w.name, w.template()))
	}
	for _, w := range updates {
		before = append(before, s.the(w.name, "").UID)
		probes = append(probes, s.probe(node.V4+":"+w.port))
	}
	for _, w := range updates {
		s.must(w.replace(s, w.name))
	}
	for i, w := range updates {
		s.the(w.name, before[i])
		shortest(away, w.name, probes[i].away())
	}
}

// shortest keeps what took the shortest time so far.
func shortest(took map[string]time.Duration, name string, d time.Duration) {
	if before, known := took[name]; !known || d < before {
		took[name] = d
	}
}

// template is that of the workload's pods. One that is to be deleted by force takes its time
// to end.
func (w workload) template() corev1.PodTemplateSpec {
	t := corev1.PodTemplateSpec{ObjectMeta: meta(w.name), Spec: spec(w.port)}
	if strings.HasPrefix(w.name, "forced") {
		t.Spec.TerminationGracePeriodSeconds = ptr.To(int64(10))
		t.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 6}}}
	}
	return t
}

// the waits for the only pod of a workload that is ready, and is not the one before.
func (s *story) the(app string, before types.UID) (pod *corev1.Pod) {
	s.Helper()
	s.until(app+" has a pod", func() bool {
		pods, err := the.CoreV1().Pods(s.ns).List(s.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil || len(pods.Items) != 1 {
			return false
		}
		pod = &pods.Items[0]
		return pod.UID != before && ready(pod)
	})
	return pod
}

// A probe asks an address all the time.
type probe struct {
	stop    chan struct{}
	longest chan time.Duration
}

func (s *story) probe(addr string) *probe {
	s.Helper()
	s.until(addr+" answers", func() bool { return get("tcp", addr) != "" })
	p := &probe{make(chan struct{}), make(chan time.Duration, 1)}
	go func() {
		longest, last := time.Duration(0), time.Now()
		for {
			answered := get("tcp", addr) != ""
			longest = max(longest, time.Since(last))
			if answered {
				last = time.Now()
			}
			select {
			case <-p.stop:
				if answered {
					p.longest <- longest
					return
				}
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return p
}

// away ends the probe, once somebody answers, and returns the longest time in which
// nobody did.
func (p *probe) away() time.Duration {
	close(p.stop)
	select {
	case d := <-p.longest:
		return d
	case <-time.After(time.Minute):
		return time.Hour
	}
}

func force(s *story, app string) error {
	pod := s.the(app, "")
	return the.CoreV1().Pods(s.ns).Delete(s.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))})
}

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func daemonSet(s *story, name string, template corev1.PodTemplateSpec) error {
	_, err := the.AppsV1().DaemonSets(s.ns).Create(context.Background(), &appsv1.DaemonSet{ObjectMeta: meta(name),
		Spec: appsv1.DaemonSetSpec{Selector: selector(name), Template: template}}, metav1.CreateOptions{})
	return err
}

// deployment is one that has no second pod while it is updated, since one node has one
// such port.
func deployment(s *story, name string, template corev1.PodTemplateSpec) error {
	one, none := intstr.FromInt32(1), intstr.FromInt32(0)
	_, err := the.AppsV1().Deployments(s.ns).Create(context.Background(), &appsv1.Deployment{ObjectMeta: meta(name),
		Spec: appsv1.DeploymentSpec{Selector: selector(name), Template: template, Strategy: appsv1.DeploymentStrategy{
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &one, MaxSurge: &none}}}}, metav1.CreateOptions{})
	return err
}

func statefulSet(s *story, name string, template corev1.PodTemplateSpec) error {
	_, err := the.AppsV1().StatefulSets(s.ns).Create(context.Background(), &appsv1.StatefulSet{ObjectMeta: meta(name),
		Spec: appsv1.StatefulSetSpec{Selector: selector(name), Template: template}}, metav1.CreateOptions{})
	return err
}
