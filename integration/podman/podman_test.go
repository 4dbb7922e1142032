// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// conmon keeps the published ports open as long as a container lives. They are the
// container's, whatever podman does with its networks and whoever restores its rules.
func TestContainer(t *testing.T) {
	h := newHost(t)
	h.podman("run", "--detach", "--name=web", "--network=n1", "--publish=8080:80", "--publish=8080:80/udp", "server", "/server", "web", "80")
	h.served("run", "web")
	h.states("run", "n1 ok")
	if who := h.Client.Who("udp4", lab.NodeV4+":8080"); who != "web" {
		t.Errorf("udp: %q answers", who)
	}
	start := time.Now() // podman's own lock keeps the first one from going, so it is not waited for
	if out, err := h.try("podman", "run", "--detach", "--name=second", "--network=n1", "--publish=8080:80", "server", "/server", "second", "80"); err == nil ||
		!strings.Contains(out, "hostPort 8080/tcp is taken: pod web has hostPort 8080/tcp; delete it or choose another hostPort") {
		t.Errorf("the same port again: %v\n%s", err, out)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the refusal took %v", took)
	}
	h.states("a refused container", "n1 ok")

	h.podman("network", "reload", "web")
	h.served("network reload", "web")
	h.states("network reload", "n1 ok")

	h.Run("nft", "flush ruleset")
	if got := h.listed(); got != "n1 missing" {
		t.Errorf("after the flush list says %q", got)
	}
	if out, err := h.portguard("restore"); err != nil || out != "restored pod web\n" {
		t.Errorf("restore: %v\n%s", err, out)
	}
	h.served("restore", "web")
	h.states("restore", "n1 ok")

	h.podman("restart", "--time=0", "web")
	h.served("restart", "web")
	h.states("restart", "n1 ok")
	h.podman("rm", "--force", "--time=0", "web")
	h.gone()
}

// One container on two networks publishes its port once. The network that has it may go
// and come, and the other one takes over.
func TestTwoNetworks(t *testing.T) {
	h := newHost(t)
	either := []string{"n1 ok, n2 waiting", "n1 waiting, n2 ok"} // podman adds them in any order
	h.podman("run", "--detach", "--name=web", "--network=n1,n2", "--publish=8080:80", "server", "/server", "web", "80")
	h.served("run", "web")
	h.states("run", either...)
	h.podman("network", "reload", "web")
	h.served("network reload", "web")
	h.states("network reload", either...)
	h.podman("network", "disconnect", "n1", "web")
	h.served("disconnect n1", "web")
	h.states("disconnect n1", "n2 ok")
	h.podman("network", "connect", "n1", "web")
	h.served("connect n1", "web")
	h.states("connect n1", "n1 waiting, n2 ok")
	h.podman("network", "disconnect", "n1", "web")
	h.states("disconnect n1 again", "n2 ok")
	h.podman("network", "connect", "n1", "web")
	h.podman("restart", "--time=0", "web")
	h.served("restart", "web")
	h.states("restart", either...)
	h.podman("stop", "--time=0", "web")
	h.gone()
	h.podman("start", "web")
	h.served("start", "web")
	h.podman("rm", "--force", "--time=0", "web")
	h.gone()
}

// The ports of a pod are those of its first container, which keeps the namespaces.
func TestPod(t *testing.T) {
	h := newHost(t)
	h.podman("pod", "create", "--name=pod", "--network=n1", "--publish=8080:80", "--infra-image=server", "--infra-command=/server")
	h.podman("run", "--detach", "--pod=pod", "--name=web", "server", "/server", "web", "80")
	h.served("run", "web")
	h.states("run", "n1 ok")
	h.podman("pod", "stop", "--time=0", "pod")
	h.gone()
	h.podman("pod", "start", "pod")
	h.served("start", "web")
	h.states("start", "n1 ok")
	h.podman("network", "reload", "--all")
	h.served("network reload", "web")
	h.podman("pod", "rm", "--force", "--time=0", "pod")
	h.gone()
}
