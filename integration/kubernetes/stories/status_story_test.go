// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// dataDir is portguard's default.
const dataDir = "/run/cni/portguard"

// What breaks every pod makes the node NotReady, with the reason, where the runtime asks
// for STATUS: containerd 2. What breaks pods with hostPorts only does not.
func TestStatus(t *testing.T) {
	s := begin(t)
	s.options(`,"conflictPolicy":"perhaps"`)
	if the.Containerd == "2" {
		s.until("the node is not ready", func() bool { return the.Condition(s.Context()).Status == corev1.ConditionFalse })
		says(t, "the node", the.Condition(s.Context()).Message, "conflictPolicy")
	} else {
		s.create("no", spec())
		s.refused("no", "conflictPolicy")
		s.staysReady()
		s.remove("no")
	}
	s.options("")
	s.must(the.Ready(s.Context()))

	s.run("before", spec("7800"))
	s.onNode("mount", "--bind", dataDir, dataDir)
	s.onNode("mount", "-o", "remount,bind,ro", dataDir)
	t.Cleanup(func() { _, _ = the.Exec("umount", "-l", dataDir) })
	s.run("plain", spec())
	s.create("web", spec("7801"))
	s.refused("web", dataDir, "read-only file system")
	s.staysReady()
	if _, fit := s.findings(); fit {
		t.Error("doctor says that the node is fit")
	}
	s.onNode("umount", dataDir)
	s.runsSoon("web")
	s.alone("web", 7801)
	s.alone("before", 7800)
}

// options changes keys of portguard in the conflist.
func (s *story) options(keys string) {
	s.Helper()
	the.Options = keys
	s.hostportsBy("portguard")
}

// staysReady asks for some time, longer than two reports of the kubelet.
func (s *story) staysReady() {
	s.Helper()
	for range 25 {
		if c := the.Condition(s.Context()); c.Status != corev1.ConditionTrue {
			s.Fatalf("the node is not ready: %s", c.Message)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
