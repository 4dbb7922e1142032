// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// image is that of all pods of the stories.
const image = "local.test/server:1"

// A port is a hostPort of a pod: "8080", "8080/udp", "127.0.0.1:8080/tcp", "[::1]:8080".
// The pod's own port is always 80.
func port(of string) corev1.ContainerPort {
	p := corev1.ContainerPort{ContainerPort: 80, Protocol: corev1.ProtocolTCP}
	of, protocol, given := strings.Cut(of, "/")
	if given {
		p.Protocol = corev1.Protocol(strings.ToUpper(protocol))
	}
	if i := strings.LastIndex(of, ":"); i >= 0 {
		p.HostIP, of = strings.Trim(of[:i], "[]"), of[i+1:]
	}
	if _, err := fmt.Sscan(of, &p.HostPort); err != nil {
		panic(err)
	}
	return p
}

// spec is a pod that serves on port 80 and has hostPorts.
func spec(ports ...string) corev1.PodSpec {
	c := corev1.Container{Name: "server", Image: image, ImagePullPolicy: corev1.PullNever, Args: []string{"80"}}
	for _, p := range ports {
		c.Ports = append(c.Ports, port(p))
	}
	return corev1.PodSpec{
		Containers:                    []corev1.Container{c},
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To(int64(1)),
	}
}

// onHost is a pod on the node's own network that serves there. It declares no ports, so
// the scheduler knows of none.
func onHost(port string) corev1.PodSpec {
	p := spec()
	p.HostNetwork, p.Containers[0].Args = true, []string{port}
	return p
}

// meta is the label by which Services and controllers find pods.
func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}
}

// create makes a pod and does not wait.
func (s *story) create(name string, spec corev1.PodSpec) *corev1.Pod {
	s.Helper()
	return s.createAs(meta(name), spec)
}

func (s *story) createAs(m metav1.ObjectMeta, spec corev1.PodSpec) *corev1.Pod {
	s.Helper()
	p, err := the.CoreV1().Pods(s.ns).Create(s.Context(), &corev1.Pod{ObjectMeta: m, Spec: spec}, metav1.CreateOptions{})
	s.must(err)
	return p
}

// runsSoon waits until a pod runs that was refused. The kubelet tries again when something
// of a pod changes, and not ten seconds later; that it does by itself is another story's.
func (s *story) runsSoon(name string) *corev1.Pod {
	s.Helper()
	patch := []byte(`{"metadata":{"annotations":{"try":"again"}}}`)
	_, err := the.CoreV1().Pods(s.ns).Patch(s.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	s.must(err)
	return s.running(name)
}

// run makes a pod and waits until it runs.
func (s *story) run(name string, spec corev1.PodSpec) *corev1.Pod {
	s.Helper()
	s.create(name, spec)
	return s.running(name)
}

// running waits until a pod runs and is ready.
func (s *story) running(name string) (p *corev1.Pod) {
	s.Helper()
	s.until("pod "+name+" runs", func() bool { p = s.pod(name); return p != nil && ready(p) })
	return p
}

// pod is the pod of that name, nil if there is none.
func (s *story) pod(name string) *corev1.Pod {
	p, err := the.CoreV1().Pods(s.ns).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return p
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

// remove deletes a pod and waits until the runtime has nothing of it.
func (s *story) remove(names ...string) {
	s.Helper()
	for _, name := range names {
		s.must(the.CoreV1().Pods(s.ns).Delete(s.Context(), name, metav1.DeleteOptions{}))
	}
	for _, name := range names {
		s.until("pod "+name+" is gone", func() bool { return s.pod(name) == nil })
	}
}

// events are what was said of a pod, or of all pods if the name is "".
func (s *story) events(pod string) (said []string) {
	s.Helper()
	list, err := the.CoreV1().Events(s.ns).List(context.Background(), metav1.ListOptions{})
	s.must(err)
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == "Pod" && (pod == "" || e.InvolvedObject.Name == pod) {
			said = append(said, e.Reason+": "+e.Message)
		}
	}
	return said
}

// refused waits for the event of a pod that was not started, and asks that it has all of
// the words.
func (s *story) refused(pod string, words ...string) {
	s.Helper()
	var event string
	s.until("an event says that "+pod+" is refused", func() bool {
		for _, e := range s.events(pod) {
			if strings.HasPrefix(e, "FailedCreatePodSandBox") {
				event = e
			}
		}
		return event != ""
	})
	says(s, "the event of "+pod, event, words...)
}

// noneFailed asks that all sandboxes were made at once, but for what portmap could not do:
// two of it that make their chains at the same time.
func (s *story) noneFailed() {
	s.Helper()
	for _, e := range s.events("") {
		if strings.HasPrefix(e, "FailedCreatePodSandBox") && !strings.Contains(e, `plugin type="portmap"`) {
			s.Errorf("an event says: %s", e)
		}
	}
}

// service makes a Service of the pods with that name.
func (s *story) service(name, pods string, spec corev1.ServiceSpec) *corev1.Service {
	s.Helper()
	spec.Selector = map[string]string{"app": pods}
	for i := range spec.Ports {
		spec.Ports[i].TargetPort = intstr.FromInt32(80)
	}
	v, err := the.CoreV1().Services(s.ns).Create(s.Context(), &corev1.Service{ObjectMeta: meta(name), Spec: spec}, metav1.CreateOptions{})
	s.must(err)
	return v
}

// nodePort makes a Service with that NodePort.
func (s *story) nodePort(name, pods string, port int32) *corev1.Service {
	s.Helper()
	return s.service(name, pods, corev1.ServiceSpec{
		Type:  corev1.ServiceTypeNodePort,
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, NodePort: port}},
	})
}
