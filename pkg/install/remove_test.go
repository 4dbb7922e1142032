// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// While a pod needs portguard, its DEL reaches it, and new pods are portmap's.
func TestNeeded(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.install()
	n.lists(`{"version":1,"hostPorts":[
		{"by":"portguard","pod":"default/web","address":"0.0.0.0","port":80,"protocol":"tcp","state":"ok"},
		{"by":"portguard","pod":"default/web","address":"::","port":80,"protocol":"tcp","state":"ok"},
		{"by":"portguard","pod":"","containerID":"abc","address":"0.0.0.0","port":81,"protocol":"udp","state":"unknown"},
		{"by":"portguard","pod":"default/dead","address":"0.0.0.0","port":82,"protocol":"tcp","state":"owner dead"},
		{"by":"portmap","pod":"default/older","address":"0.0.0.0","port":83,"protocol":"tcp","state":"ok"}]}`)
	half := map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": leaving, "conf/.10-net.conflist.portmap": old}
	for range 2 {
		n.remove("pod default/web has hostPort 80/tcp", "container abc has hostPort 81/udp")
		n.has(half)
	}
	if _, err := os.Stat(filepath.Join(n.dir, "gc")); err == nil || n.freed > 0 {
		t.Errorf("gc ran while pods need portguard, or the kernel was freed (%d times)", n.freed)
	}

	n.lists(`{"version":1,"hostPorts":[{"by":"portguard","pod":"default/dead","address":"0.0.0.0","port":82,"protocol":"tcp","state":"owner dead"}]}`)
	n.remove()
	n.has(map[string]string{"conf/10-net.conflist": old})
	if _, err := os.Stat(filepath.Join(n.dir, "gc")); err != nil {
		t.Errorf("what the dead left is not removed: %v", err)
	}
}

// Installed again in the middle of a removal, portguard is what it was.
func TestBackAgain(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.install()
	n.lists(`{"version":1,"hostPorts":[{"by":"portguard","pod":"default/web","address":"0.0.0.0","port":80,"protocol":"tcp","state":"ok"}]}`)
	n.remove("pod default/web has hostPort 80/tcp")
	n.install()
	n.has(map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": guarded, "conf/.10-net.conflist.portmap": old})
}

// Who needs portguard must be known.
func TestNotKnown(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":1,"hostPorts":[],"notes":["legacy rules: permission denied"]}`: "could not read everything: legacy rules",
		`{`: "portguard list: unexpected end",
	} {
		n := newNode(t)
		n.conf("10-net.conflist", old)
		n.install()
		n.lists(text)
		_, err := n.Remove()
		n.fails(err, want)
		n.has(map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": leaving, "conf/.10-net.conflist.portmap": old})
	}
}

// Nobody's changes are undone, and nothing that names portguard loses it.
func TestChangedMeanwhile(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.install()
	changed := strings.Replace(guarded, `"bridge"`, `"bridge","mtu":1400`, 1)
	n.conf("10-net.conflist", changed)
	_, err := n.Remove()
	n.fails(err, "10-net.conflist has been changed since portguard was put in")
	n.has(map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": changed, "conf/.10-net.conflist.portmap": old})

	n.conf("10-net.conflist", strings.Replace(old, `"bridge"`, `"bridge","mtu":1400`, 1)) // as it says
	n.conf("20-mine.conflist", guarded)
	n.remove(filepath.Join(n.ConfDir, "20-mine.conflist") + " names it")
	_ = os.Remove(filepath.Join(n.ConfDir, "20-mine.conflist"))
	n.remove()
	n.has(map[string]string{"conf/10-net.conflist": strings.Replace(old, `"bridge"`, `"bridge","mtu":1400`, 1)})
}

// A change in the middle of a removal is kept.
func TestChangedWhileLeaving(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.install()
	n.conf("10-net.conflist", strings.Replace(leaving, `"bridge"`, `"bridge","mtu":1400`, 1))
	n.remove()
	n.has(map[string]string{"conf/10-net.conflist": strings.Replace(old, `"bridge"`, `"bridge","mtu":1400`, 1)})
}

// The list of before is gone: only a person can say what it was.
func TestNotKept(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", guarded)
	n.install()
	_, err := n.Remove()
	n.fails(err, "the list of before cannot be read")
	n.has(map[string]string{"bin/portguard": "the plugin", "conf/10-net.conflist": guarded})
}

// The cluster's network went first.
func TestNoList(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.install()
	_ = os.Remove(filepath.Join(n.ConfDir, "10-net.conflist"))
	n.remove()
	n.has(map[string]string{"conf/.10-net.conflist.portmap": old})
}

// What the plugin left in the kernel goes also when somebody has deleted the plugin.
func TestPluginIsGone(t *testing.T) {
	n := newNode(t)
	n.conf("10-net.conflist", old)
	n.install()
	if err := os.Remove(filepath.Join(n.BinDir, name)); err != nil {
		t.Fatal(err)
	}
	n.remove()
	if n.freed != 1 {
		t.Errorf("the kernel was freed %d times", n.freed)
	}
}
