// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// startDocker starts the real dockerd on a node, with its state there and no images but one
// that holds a server. What it returns runs commands beside it.
func startDocker(t *testing.T, n *lab.Node, options string) func(command string) string {
	t.Helper()
	image := filepath.Join(n.Dir, "image")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(image, "server"), "./podman/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	groups := "portguard-" + filepath.Base(n.Path)
	run := startDaemons(t, n, `mount -t tmpfs tmpfs /run
		umount -R /sys/fs/cgroup 2>/run/out || :
		mount -t cgroup2 none /sys/fs/cgroup
		dockerd --data-root "$0/docker" --storage-driver vfs --cgroup-parent "/$1" $2 >&2 & daemon=$!
		until docker version >/run/out 2>&1; do kill -0 $daemon; sleep 0.2; done
		tar -C "$0/image" -c . | docker import - server >/run/out`, n.Dir, groups, options)
	t.Cleanup(func() {
		run("docker rm -f $(docker ps -aq) >/run/out; find /sys/fs/cgroup/" + groups + " -depth -type d -exec rmdir {} +")
	})
	return run
}

// The real docker starts beside a hostPort and publishes ports. Each has its own, all commands
// agree, and who asks for a port of docker's is told which container has it, with docker-proxy
// or without.
func TestRealDocker(t *testing.T) {
	lab.Installed(t, "dockerd", "DOCKER")
	for _, options := range []string{"", "--userland-proxy=false"} {
		t.Run("dockerd "+options, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, "", "nft")
			inMemory(t, n)
			list := n.Network("net", "4", nil)
			confDir(t, n, list)
			web := n.NewPod("web")
			web.Serve(80, "web")
			n.MustAdd(web, list, lab.TCP(8080, 80))
			run := startDocker(t, n, options)
			run("docker run -d --name shop -p 8081:80 server /server shop 80; docker run -d --name dns -p " + lab.NodeV4 + ":8053:53/udp server /server dns 53")
			want(t, "docker's container", n.Client.Who("tcp4", lab.NodeV4+":8081"), "shop")
			agree(t, n, web, "web", 8080, true)
			silent(t, n)
			refused(t, n, list, 103, []string{"docker publishes it for container shop (DNAT to 172.17.0.", "docker stop shop, or choose another hostPort"}, lab.TCP(8081, 80))
			refused(t, n, list, 103, []string{"docker publishes it for container dns", "docker stop dns"}, lab.UDP(8053, 53))
			if who := ask(t, n, "0.0.0.0:8081/tcp").Outside[0].Gets; !strings.HasPrefix(who, "docker, DNAT to 172.17.0.") {
				t.Errorf("explain says %q", who)
			}
			run("docker stop -t 0 shop")
			n.MustAdd(n.NewPod("next"), list, lab.TCP(8081, 80))
		})
	}
}
