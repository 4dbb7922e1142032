// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// portguard comes under running pods of portmap's, is upgraded, and goes when no pod needs
// it, by the program of deploy/: no pod loses its port for that, and nothing is left.
func TestInstall(t *testing.T) {
	n := newNode(t, "", "nft")
	before := n.Network("net", "46", lab.Conf{"type": "portmap", "cacheDir": filepath.Join(n.Dir, "cache")})
	dir := confDir(t, n, before)
	list := func() string { return read(t, filepath.Join(dir, "10-net.conflist")) }
	i := newInstaller(t, n)

	old, fresh, upgraded, back := n.NewPod("old"), n.NewPod("fresh"), n.NewPod("upgraded"), n.NewPod("back")
	answers := func(pods ...*lab.Pod) {
		t.Helper()
		for _, p := range pods {
			name := strings.Split(p.ID, "-")[0]
			want(t, name, n.Client.Who("tcp4", lab.NodeV4+":"+i.port[name]), name)
		}
	}
	i.add(old, list(), 8080)
	i.run("install")
	i.add(fresh, list(), 8081)
	answers(old, fresh)
	refused(t, n, list(), 103, []string{"portmap has it"}, lab.TCP(8080, 80))

	i.version(2)
	i.run("install")
	if !bytes.HasSuffix([]byte(read(t, filepath.Join(n.Bin, "portguard"))), []byte("version 2")) {
		t.Error("the next version is not installed")
	}
	i.add(upgraded, list(), 8082)
	answers(old, fresh, upgraded)

	removed := i.start("remove")
	until(t, "portmap is named again", func() bool { return strings.Contains(list(), `"portmap"`) })
	i.add(back, list(), 8083)
	out, _ := cli(n, "list", "-o", "json")
	if strings.Count(out, `"by": "portmap"`)+strings.Count(out, `"by":"portmap"`) != 4 { // two pods, two families
		t.Errorf("new pods are not portmap's:\n%s", out)
	}
	answers(old, fresh, upgraded, back)
	for _, p := range []*lab.Pod{fresh, upgraded} {
		if err := n.Del(p, list(), lab.TCP(8081, 80)); err != nil {
			t.Errorf("DEL of a pod of portguard's: %v", err)
		}
	}
	if err := removed(); err != nil {
		t.Fatal(err)
	}
	want(t, "the list", list(), before)
	answers(old, back)
	if rules := n.Rules(); strings.Contains(strings.ToLower(rules), "portguard") {
		t.Errorf("rules of portguard's are left:\n%s", rules)
	}
	for _, d := range []string{n.Bin, dir} {
		if left, _ := filepath.Glob(filepath.Join(d, "*portguard*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if left, _ := filepath.Glob(filepath.Join(d, ".*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	for _, p := range []*lab.Pod{old, back} {
		if err := n.Del(p, list(), lab.TCP(8080, 80)); err != nil {
			t.Error(err)
		}
	}
}

// An installer is portguard-install for a node whose folder of plugins has no portguard.
type installer struct {
	t     *testing.T
	n     *lab.Node
	path  string
	given string
	port  map[string]string
}

func newInstaller(t *testing.T, n *lab.Node) *installer {
	t.Helper()
	dir := t.TempDir()
	i := &installer{t: t, n: n, path: filepath.Join(dir, "portguard-install"), given: filepath.Join(dir, "given"), port: map[string]string{}}
	build := exec.Command("go", "build", "-o", i.path, "../cmd/portguard-install")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	plugins := filepath.Join(dir, "plugins")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"bridge", "host-local", "portmap"} {
		if err := os.Symlink(filepath.Join(bin, p), filepath.Join(plugins, p)); err != nil {
			t.Fatal(err)
		}
	}
	n.Bin = plugins
	i.version(1)
	return i
}

// version is what is to be installed: what comes behind a program is not read.
func (i *installer) version(v int) {
	i.t.Helper()
	text := read(i.t, filepath.Join(bin, "portguard")) + "version " + string(rune('0'+v))
	if err := os.WriteFile(i.given, []byte(text), 0o755); err != nil {
		i.t.Fatal(err)
	}
}

// start starts a command on the node, and returns a function that waits for its end.
func (i *installer) start(command string) (wait func() error) {
	i.t.Helper()
	cmd := i.n.Command(i.path, command, "--plugin", i.given, "--bin-dir", i.n.Bin, "--conf-dir", filepath.Join(i.n.Dir, "net.d"),
		"--grace", "10ms", "--every", "50ms")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	return func() error {
		err := cmd.Wait()
		i.t.Logf("%s: %s", command, said.String())
		return err
	}
}

func (i *installer) run(command string) {
	i.t.Helper()
	if err := i.start(command)(); err != nil {
		i.t.Fatal(err)
	}
}

// add makes a pod that answers with its name.
func (i *installer) add(p *lab.Pod, list string, port int) {
	i.t.Helper()
	name := strings.Split(p.ID, "-")[0]
	p.Serve(80, name)
	i.n.MustAdd(p, list, lab.TCP(port, 80))
	i.port[name] = strconv.Itoa(port)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not so: " + what)
		}
	}
}
