// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/run"
)

const (
	old     = `{"name":"net","plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}]}`
	guarded = `{"name":"net","plugins":[{"type":"bridge"},{"type":"portguard", "protectedPorts": ["22/tcp"],"capabilities":{"portMappings":true}}]}`
	leaving = `{"name":"net","plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}, {"type":"portguard", "protectedPorts": ["22/tcp"],"capabilities":{}}]}`
	none    = `{"version":1,"hostPorts":[]}`
)

// A node is a Node made of temporary folders and a plugin that is a script.
type node struct {
	*Node
	t    *testing.T
	dir  string
	said []string
	// freed counts what Free was asked.
	freed int
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	n := &node{t: t, dir: dir, Node: &Node{Plugin: filepath.Join(dir, "plugin"), BinDir: filepath.Join(dir, "bin"), ConfDir: filepath.Join(dir, "conf"), Protect: []string{"22/tcp"}}}
	n.Run = func(path string, args ...string) (run.Result, error) { return run.Run(path, "", time.Minute, args...) }
	n.Free = func() error { n.freed++; return nil }
	n.Log = func(format string, args ...any) { n.said = append(n.said, fmt.Sprintf(format, args...)) }
	for _, d := range []string{n.BinDir, n.ConfDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.version(1)
	n.lists(none)
	return n
}

// version is the plugin that is to be installed.
func (n *node) version(v int) {
	n.file("plugin", fmt.Sprintf(`#!/bin/sh
case $1 in
version) echo %d ;;
list) cat %s/list ;;
gc) echo >>%s/gc ;;
*) exit 2 ;;
esac
`, v, n.dir, n.dir), 0o755)
}

// lists is what the plugin lists.
func (n *node) lists(text string) { n.file("list", text, 0o600) }

func (n *node) conf(name, text string) { n.file("conf/"+name, text, 0o640) }

func (n *node) file(name, text string, mode os.FileMode) {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		n.t.Fatal(err)
	}
}

// has fails unless the folders hold these files and no other.
func (n *node) has(want map[string]string) {
	n.t.Helper()
	got := map[string]string{}
	for _, dir := range []string{"bin", "conf"} {
		entries, err := os.ReadDir(filepath.Join(n.dir, dir))
		if err != nil {
			n.t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(n.dir, dir, e.Name()))
			if err != nil {
				n.t.Fatal(err)
			}
			got[dir+"/"+e.Name()] = string(b)
			if _, wanted := want[dir+"/"+e.Name()]; dir == "bin" && wanted {
				got[dir+"/"+e.Name()] = "the plugin"
				if p, _ := os.ReadFile(n.Plugin); string(p) != string(b) {
					got[dir+"/"+e.Name()] = "another plugin"
				}
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		n.t.Errorf("wanted (-), found (+):\n%s", d)
	}
}

// fails fails unless there was this error.
func (n *node) fails(err error, want string) {
	n.t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		n.t.Errorf("got %v; want %q", err, want)
	}
}

func (n *node) install() {
	n.t.Helper()
	if err := n.Install(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) remove(want ...string) {
	n.t.Helper()
	needed, err := n.Remove()
	if err != nil || !slices.Equal(needed, want) {
		n.t.Fatalf("got %q, %v; want %q", needed, err, want)
	}
}

func TestInstallAndRemove(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.conf("20-other.conflist", old)
	n.install()
	installed := map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": guarded, "conf/.10-net.conflist.portmap": old, "conf/20-other.conflist": old}
	n.has(installed)
	if st, err := os.Stat(filepath.Join(n.ConfDir, "10-net.conflist")); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("the mode is not kept: %v, %v", st.Mode(), err)
	}

	said := len(n.said)
	n.install()
	n.has(installed)
	if len(n.said) != said {
		t.Errorf("nothing was to be done; it said %q", n.said[said:])
	}

	n.remove()
	n.has(map[string]string{"conf/10-net.conflist": old, "conf/20-other.conflist": old})
	if n.freed != 1 {
		t.Errorf("the kernel was freed %d times", n.freed)
	}
	n.remove() // what may be left in the kernel is freed once more
	n.has(map[string]string{"conf/10-net.conflist": old, "conf/20-other.conflist": old})
	if n.freed != 2 {
		t.Errorf("the kernel was freed %d times after two removals", n.freed)
	}
}

// A new version is renamed over the old one, which may run.
func TestUpgrade(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.install()
	running, err := os.Open(filepath.Join(n.BinDir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	before, _ := running.Stat()
	n.version(2)
	n.put = nil // another process
	n.install()
	after, err := os.Stat(running.Name())
	if err != nil || os.SameFile(before, after) {
		t.Errorf("the running plugin was written to: %v", err)
	}
	n.has(map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": guarded, "conf/.10-net.conflist.portmap": old})
}

// What is undone by others is done again.
func TestUndone(t *testing.T) {
	n := newNode(t)
	n.fails(n.Install(), "there is no conflist")
	n.conf("10-net.conflist", `{"name":"net","plug`) // half written
	n.fails(n.Install(), "10-net.conflist: it is not valid JSON")
	n.conf("10-net.conflist", old)
	n.install()
	newer := strings.Replace(old, `"bridge"`, `"bridge","mtu":1400`, 1)
	n.conf("10-net.conflist", newer) // as flannel does when it starts
	n.install()
	n.has(map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": strings.Replace(guarded, `"bridge"`, `"bridge","mtu":1400`, 1), "conf/.10-net.conflist.portmap": newer})
	n.file("bin/portguard", "#!/bin/sh\n", 0o755)
	n.file("bin/portguard.2", "x", 0o755)
	if err := os.Rename(filepath.Join(n.BinDir, "portguard.2"), filepath.Join(n.BinDir, name)); err != nil {
		t.Fatal(err)
	}
	n.install()
	n.has(map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": strings.Replace(guarded, `"bridge"`, `"bridge","mtu":1400`, 1), "conf/.10-net.conflist.portmap": newer})
}

// A list that comes before is the runtime's from then on; removing finds both.
func TestSecondList(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.install()
	n.conf("05-new.conflist", old)
	n.install()
	n.has(map[string]string{
		"bin/portguard": "the plugin", "conf/10-net.conflist": guarded, "conf/.10-net.conflist.portmap": old,
		"conf/05-new.conflist": guarded, "conf/.05-new.conflist.portmap": old,
	})
	n.remove()
	n.has(map[string]string{"conf/10-net.conflist": old, "conf/05-new.conflist": old})
}

// The list that is meant may be another than the first.
func TestNamedList(t *testing.T) {
	n := newNode(t)
	n.conf("00-multus.conf", `{"name":"m","type":"multus","clusterNetwork":"net"}`)
	n.conf("10-net.conflist", old)
	n.fails(n.Install(), `00-multus.conf: it has no "plugins"`)
	n.Conflist = "10-net.conflist"
	n.install()
	n.has(map[string]string{
		"bin/portguard": "the plugin", "conf/00-multus.conf": `{"name":"m","type":"multus","clusterNetwork":"net"}`,
		"conf/10-net.conflist": guarded, "conf/.10-net.conflist.portmap": old,
	})
	n.Conflist = ""
	n.remove()
	n.has(map[string]string{"conf/00-multus.conf": `{"name":"m","type":"multus","clusterNetwork":"net"}`, "conf/10-net.conflist": old})
}

// Where portguard could not work, the list stays as it is.
func TestInstallRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(*node)
		want string
	}{
		"another machine": {func(n *node) { n.file("plugin", "\x7fELF", 0o755) }, "plugin does not run here"},
		"fails":           {func(n *node) { n.file("plugin", "#!/bin/sh\necho no >&2; exit 1", 0o755) }, "does not run here: exit status 1: no"},
		"no plugin":       {func(n *node) { _ = os.Remove(n.Plugin) }, "no such file"},
		"no folder":       {func(n *node) { n.BinDir += "x" }, "--bin-dir must be a folder"},
		"read-only":       {func(n *node) { n.BinDir = "/proc/self" }, "--bin-dir must be a folder"},
		"no conf folder":  {func(n *node) { n.ConfDir += "x" }, "no such file"},
		"neither":         {func(n *node) { n.conf("10-net.conflist", `{"plugins":[{"type":"cilium-cni"}]}`) }, "it names neither portmap nor portguard; where"},
		"not ours": {func(n *node) {
			n.conf("10-net.conflist", strings.Replace(old, `"portmap"`, `"portmap","markMasqBit":77`, 1))
		}, "markMasqBit"},
		"a link": {func(n *node) {
			n.conf("real", old)
			_ = os.Remove(filepath.Join(n.ConfDir, "10-net.conflist"))
			_ = os.Symlink("real", filepath.Join(n.ConfDir, "10-net.conflist"))
		}, "symbolic links"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.conf("10-net.conflist", old)
			tt.make(n)
			before, _ := os.ReadFile(filepath.Join(n.ConfDir, "10-net.conflist"))
			n.fails(n.Install(), tt.want)
			if after, _ := os.ReadFile(filepath.Join(n.ConfDir, "10-net.conflist")); string(before) != string(after) {
				t.Errorf("the list was changed:\n%s", after)
			}
		})
	}
}
