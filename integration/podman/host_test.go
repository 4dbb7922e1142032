// SPDX-License-Identifier: Apache-2.0

// Package podman runs the real podman, with its CNI backend, on a node of the lab. It has
// its own mounts and PIDs there: nothing of it is left when the test ends, and podman's
// state on the machine is not touched.
package podman

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
)

var bin string

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run, &bin)) }

// A host is a node with podman.
type host struct {
	*lab.Node
	t *testing.T
	// within are the words before a command that runs beside podman.
	within []string
}

// newHost makes a node with podman, two networks and an image, or skips where there is none
// with a CNI backend. With PODMAN set, as "make podman" sets it, podman must be there.
func newHost(t *testing.T) *host {
	t.Helper()
	lab.Installed(t, "podman", "PODMAN")
	h := &host{Node: lab.NewNode(t, bin, "nft"), t: t}
	h.write("containers.conf", fmt.Sprintf(`[containers]
		cgroups = "disabled"
		log_driver = "k8s-file"
		default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
		[engine]
		events_logger = "none"
		cgroup_manager = "cgroupfs"
		[network]
		network_backend = "cni"
		cni_plugin_dirs = [%q]
		network_config_dir = "%s/net.d"
		default_network = "n1"
		`, bin, h.Dir))
	h.write("storage.conf", fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = \"%s/storage\"\nrunroot = \"/run/storage\"\n", h.Dir))
	h.Env = append(h.Env, "CONTAINERS_CONF="+h.Dir+"/containers.conf", "CONTAINERS_STORAGE_CONF="+h.Dir+"/storage.conf", "TMPDIR="+h.Dir)
	for i, name := range []string{"n1", "n2"} {
		list := strings.NewReplacer(`"cni0"`, fmt.Sprintf(`"cni%d"`, i), lab.PodNetV4, fmt.Sprintf("10.%d.0.0/16", 88+i)).Replace(h.Network(name, "4", lab.Conf{"claimWait": "30s"}))
		h.write("net.d/"+name+".conflist", strings.Replace(list, "1.1.0", "0.4.0", 1)) // podman 4 knows no newer one
	}
	h.within = h.Apart(`mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib; mkdir -p /run/lock
		[ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup`)
	if out, err := h.try("podman", "info", "--format", "{{.Host.NetworkBackend}}"); err != nil && strings.Contains(out, "netavark") {
		t.Skipf("this podman has no CNI backend: %s", out)
	} else if strings.TrimSpace(out) != "cni" {
		t.Fatalf("podman info: %v\n%s", err, out)
	}
	h.podman("import", h.image(), "server")
	return h
}

func (h *host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.Dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// image is a tarball with nothing but the server.
func (h *host) image() string {
	h.t.Helper()
	server, path := filepath.Join(h.Dir, "server"), filepath.Join(h.Dir, "image.tar")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", server, "./server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(server)
	var b bytes.Buffer
	if err == nil {
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&tar.Header{Name: "server", Mode: 0o755, Size: int64(len(program))})
		_, _ = w.Write(program)
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(path, b.Bytes(), 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return path
}

// try runs a command of the host.
func (h *host) try(args ...string) (string, error) {
	return h.Try("", slices.Concat(h.within, args)...)
}

// podman runs podman, which must succeed.
func (h *host) podman(args ...string) string {
	h.t.Helper()
	out, err := h.try(append([]string{"podman"}, args...)...)
	if err != nil {
		h.t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// portguard runs portguard as a person does.
func (h *host) portguard(args ...string) (string, error) {
	return h.try(append(append([]string{filepath.Join(bin, "portguard")}, args...), "--conf-dir", h.Dir+"/net.d")...)
}

// served waits until the server of that name answers at port 8080 of the node.
func (h *host) served(when, name string) {
	h.t.Helper()
	got := ""
	for range 20 {
		if got = h.Client.Who("tcp4", lab.NodeV4+":8080"); got == name {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.t.Errorf("%s: %q answers, want %q", when, got, name)
}

// listed are the states of port 8080 as list has them, by network.
func (h *host) listed() string {
	h.t.Helper()
	out, err := h.portguard("list", "-o", "json")
	var l inventory.List
	if jerr := json.Unmarshal([]byte(out), &l); err != nil || jerr != nil {
		h.t.Fatalf("list: %v, %v\n%s", err, jerr, out)
	}
	var got []string
	for _, e := range l.HostPorts {
		if e.Protocol == hostport.TCP {
			got = append(got, e.Network+" "+string(e.State))
		}
	}
	slices.Sort(got)
	return strings.Join(got, ", ")
}

// states says what list must say, one of several things. Doctor is content then.
func (h *host) states(when string, want ...string) {
	h.t.Helper()
	if got := h.listed(); !slices.Contains(want, got) {
		h.t.Errorf("%s: list says %q, want %q", when, got, want)
	}
	if out, err := h.portguard("doctor"); err != nil {
		h.t.Errorf("%s: doctor: %v\n%s", when, err, out)
	}
}

// gone says that nothing is left.
func (h *host) gone() {
	h.t.Helper()
	if rules := h.Rules(); strings.Contains(rules, "portguard") || len(h.StateFiles()) > 0 {
		h.t.Errorf("left: %v\n%s", h.StateFiles(), rules)
	}
}
