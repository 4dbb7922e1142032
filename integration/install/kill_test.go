// SPDX-License-Identifier: Apache-2.0

// Package install kills the installer of deploy/ wherever it asks something of the kernel.
package install

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/pkg/confdir"
	"github.com/portguard/portguard/pkg/install"
	"github.com/portguard/portguard/pkg/run"
)

const (
	old    = `{"name":"net","plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}]}`
	plugin = `#!/bin/sh
case $1 in
version) ;;
list) echo '{"version":1,"hostPorts":[]}' ;;
*) exit 2 ;;
esac
`
)

// A node is the folders of one.
type node struct {
	*testing.T
	dir string
}

// TestMain is also the program that is killed. Calls are counted for each thread, so it has
// one for all.
func TestMain(m *testing.M) {
	dir := os.Getenv("INSTALL_INTO")
	if dir == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	n := &install.Node{Plugin: dir + "/plugin", BinDir: dir + "/bin", ConfDir: dir + "/conf", Protect: []string{"22/tcp"}, Log: func(string, ...any) {}, Free: func() error { return nil }}
	n.Run = func(path string, args ...string) (run.Result, error) { return run.Run(path, "", time.Minute, args...) }
	do := n.Install
	if os.Args[1] == "remove" {
		do = func() error { _, err := n.Remove(); return err }
	}
	if err := do(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func TestKill(t *testing.T) {
	for _, call := range []string{"openat", "write", "fchmod", "fsync", "renameat", "unlinkat", "flock"} {
		for _, command := range []string{"install", "upgrade", "remove"} {
			t.Run(command+"/"+call, func(t *testing.T) {
				n := &node{T: t, dir: t.TempDir()}
				killed := 0
				for n.once(command, call, killed+1) {
					killed++
				}
				t.Logf("killed %d times", killed)
				if least := max(1, map[string]int{"install/renameat": 3, "remove/renameat": 2}[command+"/"+call]); killed < least {
					t.Errorf("killed %d times; want at least %d", killed, least)
				}
			})
		}
	}
}

// once kills a command at the nth call of a kind, and reports whether it got there. The
// node works then, and the next run does the rest.
func (n *node) once(command, call string, nth int) (killed bool) {
	n.Helper()
	n.fresh()
	verb := command
	if command != "install" {
		n.run("install")
	}
	if command == "upgrade" {
		verb = "install"
		n.write("plugin", plugin+"# a newer one\n", 0o755)
	}
	trace := []string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, nth), os.Args[0], verb}
	out, err := n.command("strace", trace...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.Fatal(err)
	}
	n.works(fmt.Sprintf("killed at %s %d", call, nth))
	if err == nil {
		return false
	}
	if !strings.Contains(err.Error(), "killed") {
		n.Fatalf("%v\n%s", err, out)
	}
	n.run(verb)
	n.works("run again")
	n.finished(verb)
	return true
}

// fresh makes the folders anew.
func (n *node) fresh() {
	for _, d := range []string{"bin", "conf"} {
		if err := errors.Join(os.RemoveAll(filepath.Join(n.dir, d)), os.Mkdir(filepath.Join(n.dir, d), 0o755)); err != nil {
			n.Fatal(err)
		}
	}
	n.write("plugin", plugin, 0o755)
	n.write("bin/bridge", plugin, 0o755)
	n.write("bin/portmap", plugin, 0o755)
	n.write("conf/10-net.conflist", old, 0o644)
}

func (n *node) write(name, text string, mode os.FileMode) {
	n.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), mode); err != nil {
		n.Fatal(err)
	}
}

// command is one that is told where the folders are.
func (n *node) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "INSTALL_INTO="+n.dir)
	return cmd
}

func (n *node) run(verb string) {
	n.Helper()
	if out, err := n.command(os.Args[0], verb).CombinedOutput(); err != nil {
		n.Fatalf("%s: %v\n%s", verb, err, out)
	}
}

// works fails unless the runtime finds one list, with hostPorts in it, and every plugin of it
// runs.
func (n *node) works(when string) {
	n.Helper()
	lists, err := confdir.Read(n.dir + "/conf")
	if err != nil || len(lists) != 1 || lists[0].Err != nil {
		n.Fatalf("%s: %+v, %v", when, lists, err)
	}
	if !slices.Contains(lists[0].Types, "portmap") && !slices.Contains(lists[0].Types, "portguard") {
		n.Fatalf("%s: nobody has the hostPorts: %v", when, lists[0].Types)
	}
	for _, p := range lists[0].Types {
		if out, err := exec.Command(filepath.Join(n.dir, "bin", p), "version").CombinedOutput(); err != nil {
			n.Fatalf("%s: %s: %v\n%s", when, p, err, out)
		}
	}
}

// finished fails unless a command has done all that it is for, and left nothing else.
func (n *node) finished(verb string) {
	n.Helper()
	want := []string{"bin/bridge", "bin/portguard", "bin/portmap", "conf/.10-net.conflist.portmap", "conf/10-net.conflist"}
	if verb == "remove" {
		want = []string{"bin/bridge", "bin/portmap", "conf/10-net.conflist"}
	}
	var got []string
	for _, d := range []string{"bin", "conf"} {
		entries, err := os.ReadDir(filepath.Join(n.dir, d))
		if err != nil {
			n.Fatal(err)
		}
		for _, e := range entries {
			got = append(got, d+"/"+e.Name())
		}
	}
	if !slices.Equal(got, want) {
		n.Errorf("%s left %v; want %v", verb, got, want)
	}
	list, _ := os.ReadFile(filepath.Join(n.dir, "conf/10-net.conflist"))
	if (string(list) == old) != (verb == "remove") {
		n.Errorf("after %s: %s", verb, list)
	}
	if verb == "install" {
		have, _ := os.ReadFile(filepath.Join(n.dir, "bin/portguard"))
		if given, _ := os.ReadFile(filepath.Join(n.dir, "plugin")); string(have) != string(given) {
			n.Errorf("the plugin is another one:\n%s", have)
		}
	}
}
