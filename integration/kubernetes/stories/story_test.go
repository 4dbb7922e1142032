// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// A story is a test with a namespace of Kubernetes.
type story struct {
	*testing.T
	ns string
	// others is whether other stories are told meanwhile.
	others bool
}

// begin begins a story that has the node to itself. When it ends its pods go, and nothing of
// them may stay.
func begin(t *testing.T) *story {
	t.Helper()
	return start(t, false)
}

// beside begins a story that is told beside others, when those of begin are over: mostly it
// waits until the kubelet tries again.
func beside(t *testing.T) *story {
	t.Helper()
	t.Parallel()
	return start(t, true)
}

func start(t *testing.T, others bool) *story {
	t.Helper()
	ns := strings.ToLower(regexp.MustCompile(`\W|_`).ReplaceAllString(strings.TrimPrefix(t.Name(), "Test"), "-"))
	s := &story{T: t, ns: ns, others: others}
	w := startWatch()
	t.Cleanup(func() {
		score.Lock()
		defer score.Unlock()
		if others {
			score.took = append(score.took, fmt.Sprintf("%7.1f s %18s %s", time.Since(w.start).Seconds(), "", t.Name()))
		} else {
			score.took, score.together = append(score.took, w.stop(t.Name())), startWatch()
		}
		if t.Failed() {
			score.failed++
		} else {
			score.passed++
		}
	})
	_, err := the.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
	s.must(err)
	s.until("the service account is there", func() bool {
		_, err := the.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	t.Cleanup(s.end)
	return s
}

// end removes all of the story and asks what is left.
func (s *story) end() {
	if s.Failed() {
		events, _ := the.Kubectl("get", "pods,events", "-A", "-o", "wide")
		list, _ := the.Exec("portguard", "list")
		s.Logf("%s\n%s", events, list)
	}
	s.removeAll()
	if err := the.CoreV1().Namespaces().Delete(context.Background(), s.ns, metav1.DeleteOptions{}); err != nil {
		s.Error(err)
	}
	if left := s.left(); left != "" {
		s.Error(left)
	}
}

// removeAll removes all that makes pods, then all pods, and waits until the runtime has
// none of them any more.
func (s *story) removeAll() {
	s.Helper()
	ctx, all := context.Background(), metav1.ListOptions{}
	background := metav1.DeletePropagationBackground
	del := metav1.DeleteOptions{PropagationPolicy: &background}
	_ = the.AppsV1().DaemonSets(s.ns).DeleteCollection(ctx, del, all)
	_ = the.AppsV1().Deployments(s.ns).DeleteCollection(ctx, del, all)
	_ = the.AppsV1().StatefulSets(s.ns).DeleteCollection(ctx, del, all)
	_ = the.AppsV1().ReplicaSets(s.ns).DeleteCollection(ctx, del, all)
	del.GracePeriodSeconds = ptr.To(int64(1)) // the pods' own may be long
	_ = the.CoreV1().Pods(s.ns).DeleteCollection(ctx, del, all)
	s.untilIn(ctx, "all pods are gone", func() bool {
		pods, err := the.CoreV1().Pods(s.ns).List(ctx, all)
		return err == nil && len(pods.Items) == 0 && s.sandboxes(ctx) == 0
	})
	services, err := the.CoreV1().Services(s.ns).List(ctx, all)
	s.must(err)
	for _, service := range services.Items {
		s.must(the.CoreV1().Services(s.ns).Delete(ctx, service.Name, metav1.DeleteOptions{}))
	}
}

// left is what is left of the story in list, and, if it was alone, of anybody.
func (s *story) left() string {
	s.Helper()
	list := s.list()
	if !s.others {
		return anyLeft(list)
	}
	list = slices.DeleteFunc(list, func(e entry) bool { return !strings.HasPrefix(e.Pod, s.ns+"/") })
	return listLeft(list)
}

func listLeft(list []entry) string {
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("left in list: %v", list)
}

// anyLeft asks the kernel, too, whether anything of pods is left.
func anyLeft(list []entry) string {
	if left := listLeft(list); left != "" {
		return left
	}
	for _, save := range []string{"iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		out, err := the.Exec(save, "-t", "nat")
		if err == nil && regexp.MustCompile(`PG[CDM]-|CNI-DN-|--comment.*portguard.*DNAT`).MatchString(out) {
			return fmt.Sprintf("left in %s:\n%s", save, out)
		}
	}
	// The last mapping takes the table with it.
	if out, err := the.Exec("nft", "list", "table", "inet", "portguard"); err == nil {
		return "left in nftables:\n" + out
	}
	return ""
}

// An entry is a line of "portguard list".
type entry struct {
	By, Address, Protocol, Pod, State, Reason, Backend string
	Port                                               int
}

func (s *story) list() []entry {
	s.Helper()
	list, err := listed()
	s.must(err)
	return list
}

func listed() ([]entry, error) {
	var l struct{ HostPorts []entry }
	err := ask(&l, "list")
	return l.HostPorts, err
}

// ask runs one of portguard's commands and reads its JSON.
func (s *story) ask(into any, args ...string) {
	s.Helper()
	s.must(ask(into, args...))
}

func ask(into any, args ...string) error {
	out, _ := the.Command(append([]string{"portguard"}, append(args, "-o", "json")...)...).Output()
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("portguard %v: %w\n%s", args, err, out)
	}
	return nil
}

// portguard runs one of its commands as a person does.
func (s *story) portguard(args ...string) string {
	out, _ := the.Exec(append([]string{"portguard"}, args...)...)
	return out
}

func (s *story) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *story) until(what string, is func() bool) {
	s.Helper()
	s.untilIn(s.Context(), what, is)
}

func (s *story) untilIn(ctx context.Context, what string, is func() bool) {
	s.Helper()
	s.must(node.Until(ctx, what, is))
}

// want compares and goes on.
func want[V comparable](t testing.TB, what string, got, want V) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// says asks that a text has all of the words.
func says(t testing.TB, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", what, w, text)
		}
	}
}
