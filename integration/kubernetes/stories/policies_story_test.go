// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// dry asks the API server and makes nothing.
func dry() metav1.CreateOptions { return metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}} }

// The policies of policies/admission let in what they should and nothing else.
func TestPolicies(t *testing.T) {
	s := beside(t)
	earlier := s.deployment("earlier", spec("30090"))
	s.policies("deny")
	s.until("the policies are asked", func() bool { return s.try("", spec("80")) != "" && s.try("", onHost("80")) != "" })
	s.soundPolicies()

	// A namespace without a word of its own has no hostPorts.
	s.accepted("a plain pod", spec())
	none := spec()
	none.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}}
	s.accepted("a containerPort", none)
	s.denied("a hostPort", spec("80"), "hostPort 80/tcp is not allowed in namespace "+s.ns, "portguard/host-ports is missing")
	s.denied("two", spec("80", "81/udp"), "hostPort 80/tcp, 81/udp is not allowed")
	s.denied("hostNetwork", onHost("80"), "hostNetwork is not allowed in this namespace")
	first := spec()
	first.InitContainers = spec("82").Containers
	first.InitContainers[0].Name = "first"
	s.denied("an init container", first, "hostPort 82/tcp")
	first.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	s.denied("a sidecar", first, "hostPort 82/tcp")
	s.ephemeral()

	s.annotate("80, 443/TCP,8000-8099/udp,30090,10250,x,99999999999")
	s.accepted("what is listed", spec("80", "80/udp", "443", "8000/udp", "8099/udp", "127.0.0.1:80/sctp"))
	for _, p := range []string{"443/udp", "8100/udp", "7999/udp", "8050", "81"} {
		s.denied("what is not", spec(p), "is not allowed in namespace", "allows 80, 443/TCP,8000-8099/udp")
	}
	s.denied("a NodePort", spec("30090"), "hostPort 30090/tcp may become the NodePort of a Service")
	s.denied("the kubelet's", spec("10250"), "hostPort 10250/tcp belongs to a program of the nodes")
	s.accepted("nobody's", spec("80"))

	s.workloads()
	s.updates(earlier)
	s.reserved()

	s.kubectl("label", "namespace", s.ns, "portguard/host-network=allowed")
	s.until("hostNetwork is allowed by the label", func() bool { return s.try("", onHost("80")) == "" })
	want(t, "kube-system", s.try("kube-system", onHost("80")), "")
	want(t, "kube-system", s.try("kube-system", spec("10250")), "")

	s.kubectl("-n", s.ns, "create", "--dry-run=server", "-f", filepath.Join(repository(), "policies", "network-policy.yaml"))

	s.policies("warn")
	s.until("nothing is refused", func() bool { return s.try("", spec("81")) == "" })
	says(t, "the warning", s.kubectl("-n", s.ns, "run", "a", "--image=a", "--dry-run=server", `--overrides={"spec":{"containers":[{"name":"a","image":"a","ports":[{"containerPort":1,"hostPort":81}]}]}}`),
		"Warning: ", "hostPort 81/tcp is not allowed")
}

// policies applies an overlay of policies/admission until the end of the story.
func (s *story) policies(name string) {
	s.Helper()
	path := s.onlyHere(s.kubectl("kustomize", filepath.Join(repository(), "policies", "admission", name)))
	s.kubectl("apply", "-f", path)
	s.Cleanup(func() { _, _ = the.Kubectl("delete", "--ignore-not-found", "-f", path) })
}

// onlyHere is a file with policies that are bound to the namespace of the story, and to
// kube-system, which they let alone: other stories are told meanwhile.
func (s *story) onlyHere(policies string) string {
	s.Helper()
	const expressions = "      matchExpressions:\n"
	here := expressions + "      - {key: kubernetes.io/metadata.name, operator: In, values: [" + s.ns + ", kube-system]}\n"
	want(s, "bindings with a selector", strings.Count(policies, expressions), strings.Count(policies, "\nkind: ValidatingAdmissionPolicyBinding\n"))
	path := filepath.Join(s.TempDir(), "policies.yaml")
	s.must(os.WriteFile(path, []byte(strings.ReplaceAll(policies, expressions, here)), 0o644))
	return path
}

// soundPolicies asks what the API server says of the expressions' types.
func (s *story) soundPolicies() {
	s.Helper()
	s.until("the expressions are checked", func() bool {
		policies, err := the.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(s.Context(), metav1.ListOptions{})
		s.must(err)
		for _, p := range policies.Items {
			if p.Status.TypeChecking == nil {
				return false
			}
			for _, w := range p.Status.TypeChecking.ExpressionWarnings {
				s.Errorf("%s: %s: %s", p.Name, w.FieldRef, w.Warning)
			}
		}
		return len(policies.Items) == 3
	})
}

// try says why a pod would be refused.
func (s *story) try(ns string, spec corev1.PodSpec) string {
	if ns == "" {
		ns = s.ns
	}
	_, err := the.CoreV1().Pods(ns).Create(context.Background(), &corev1.Pod{ObjectMeta: meta("try"), Spec: spec}, dry())
	return text(err)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (s *story) accepted(what string, spec corev1.PodSpec) {
	s.Helper()
	want(s, what, s.try("", spec), "")
}

func (s *story) denied(what string, spec corev1.PodSpec, words ...string) {
	s.Helper()
	says(s, what, s.try("", spec), words...)
}

// ephemeral containers have no ports: the API itself says so.
func (s *story) ephemeral() {
	s.Helper()
	p := s.run("debugged", spec())
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: "debug", Image: image, ImagePullPolicy: corev1.PullNever, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: 83, Protocol: corev1.ProtocolTCP}},
	}}}
	_, err := the.CoreV1().Pods(s.ns).UpdateEphemeralContainers(s.Context(), p.Name, p, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
	says(s, "an ephemeral container", text(err), "cannot be set for an Ephemeral Container")
}

// annotate says which hostPorts the namespace has.
func (s *story) annotate(ports string) {
	s.Helper()
	s.kubectl("annotate", "--overwrite", "namespace", s.ns, "portguard/host-ports="+ports)
	s.until("the annotation counts", func() bool { return strings.Contains(s.try("", spec("7")), "allows "+ports) })
}

// deployment makes one that has no pods.
func (s *story) deployment(name string, spec corev1.PodSpec) *appsv1.Deployment {
	s.Helper()
	d, err := the.AppsV1().Deployments(s.ns).Create(s.Context(), &appsv1.Deployment{ObjectMeta: meta(name), Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To(int32(0)), Selector: selects(name), Template: template(name, spec),
	}}, metav1.CreateOptions{})
	s.must(err)
	return d
}

func selects(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func template(name string, spec corev1.PodSpec) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}}, Spec: spec}
}

// workloads asks all that makes pods.
func (s *story) workloads() {
	s.Helper()
	ctx, m := s.Context(), meta("w")
	once := func(p corev1.PodSpec) corev1.PodTemplateSpec {
		p.RestartPolicy = corev1.RestartPolicyNever
		return template("w", p)
	}
	for kind, create := range map[string]func(p corev1.PodSpec) error{
		"Deployment": func(p corev1.PodSpec) error {
			_, err := the.AppsV1().Deployments(s.ns).Create(ctx, &appsv1.Deployment{ObjectMeta: m, Spec: appsv1.DeploymentSpec{Selector: selects("w"), Template: template("w", p)}}, dry())
			return err
		},
		"DaemonSet": func(p corev1.PodSpec) error {
			_, err := the.AppsV1().DaemonSets(s.ns).Create(ctx, &appsv1.DaemonSet{ObjectMeta: m, Spec: appsv1.DaemonSetSpec{Selector: selects("w"), Template: template("w", p)}}, dry())
			return err
		},
		"StatefulSet": func(p corev1.PodSpec) error {
			_, err := the.AppsV1().StatefulSets(s.ns).Create(ctx, &appsv1.StatefulSet{ObjectMeta: m, Spec: appsv1.StatefulSetSpec{Selector: selects("w"), Template: template("w", p)}}, dry())
			return err
		},
		"ReplicaSet": func(p corev1.PodSpec) error {
			_, err := the.AppsV1().ReplicaSets(s.ns).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: m, Spec: appsv1.ReplicaSetSpec{Selector: selects("w"), Template: template("w", p)}}, dry())
			return err
		},
		"Job": func(p corev1.PodSpec) error {
			_, err := the.BatchV1().Jobs(s.ns).Create(ctx, &batchv1.Job{ObjectMeta: m, Spec: batchv1.JobSpec{Template: once(p)}}, dry())
			return err
		},
		"CronJob": func(p corev1.PodSpec) error {
			_, err := the.BatchV1().CronJobs(s.ns).Create(ctx, &batchv1.CronJob{ObjectMeta: m, Spec: batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: once(p)}}}}, dry())
			return err
		},
		"ReplicationController": func(p corev1.PodSpec) error {
			w := template("w", p)
			_, err := the.CoreV1().ReplicationControllers(s.ns).Create(ctx, &corev1.ReplicationController{ObjectMeta: m, Spec: corev1.ReplicationControllerSpec{Template: &w}}, dry())
			return err
		},
		"PodTemplate": func(p corev1.PodSpec) error {
			_, err := the.CoreV1().PodTemplates(s.ns).Create(ctx, &corev1.PodTemplate{ObjectMeta: m, Template: template("w", p)}, dry())
			return err
		},
	} {
		want(s, kind, text(create(spec("80"))), "")
		says(s, kind, text(create(spec("81"))), "hostPort 81/tcp is not allowed")
		says(s, kind, text(create(spec("30090"))), "hostPort 30090/tcp may become")
		says(s, kind, text(create(onHost("80"))), "hostNetwork is not allowed")
	}
}

// updates of what is older than the policy are refused only if they change the pods.
func (s *story) updates(d *appsv1.Deployment) {
	s.Helper()
	update := func(change func(*appsv1.Deployment)) string {
		d, err := the.AppsV1().Deployments(s.ns).Get(s.Context(), d.Name, metav1.GetOptions{})
		s.must(err)
		change(d)
		_, err = the.AppsV1().Deployments(s.ns).Update(s.Context(), d, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return text(err)
	}
	want(s, "a scaled one", update(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(int32(2)) }), "")
	want(s, "an annotated one", update(func(d *appsv1.Deployment) { d.Annotations = map[string]string{"a": "b"} }), "")
	says(s, "another image", update(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "other" }), "hostPort 30090/tcp may become")
	want(s, "without the port", update(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Ports = nil }), "")
}

// reserved asks what other ports do in the policy, and a word that is misspelt.
func (s *story) reserved() {
	s.Helper()
	policy := s.read(filepath.Join(repository(), "policies", "admission", "deny", "reserved-ports.yaml"))
	set := func(ports string) {
		s.kubectl("apply", "-f", s.onlyHere(strings.Replace(policy, "22/tcp", ports, 1)))
	}
	set("80/tcp")
	s.until("another port is protected", func() bool { return strings.Contains(s.try("", spec("80")), "80/tcp belongs to a program") })
	s.accepted("another one", spec("8000/udp"))
	set("8o/tcp")
	s.until("a wrong word refuses", func() bool { return strings.Contains(s.try("", spec("443")), "portguard-reserved-ports") })
	s.accepted("no hostPort", spec())
	set("22/tcp")
	s.until("it is back", func() bool { return s.try("", spec("80")) == "" })
}
