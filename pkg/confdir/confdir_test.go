// SPDX-License-Identifier: Apache-2.0

package confdir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
)

func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	d := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

const (
	list   = `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"},{"type":"portguard","capabilities":{"portMappings":true},"dataDir":"/run/x"}]}`
	single = `{"cniVersion":"1.0.0","name":"one","type":"bridge"}`
)

func TestRead(t *testing.T) {
	d := dir(t, map[string]string{"20-net.conflist": list, "10-one.conf": single, "30-broken.conflist": "{", "notes.txt": "x",
		"40-bad.conflist": strings.Replace(list, `"dataDir":"/run/x"`, `"dataDir":"x","datadirs":1`, 1)})
	lists, err := Read(d)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lists {
		got = append(got, fmt.Sprintf("%s %v capable %v loads %v sound %v unknown %v", filepath.Base(l.File), l.Types, l.Capable, l.Err == nil, l.Invalid == nil, l.Unknown))
	}
	want := []string{
		"10-one.conf [bridge] capable false loads true sound true unknown []",
		"20-net.conflist [bridge portguard] capable true loads true sound true unknown []",
		"30-broken.conflist [] capable false loads false sound true unknown []",
		"40-bad.conflist [bridge portguard] capable true loads true sound false unknown [datadirs]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Multus calls its delegates for every pod, or the list that it names; a capability that it
// does not declare is not told to them.
func TestMultus(t *testing.T) {
	const multus = `{"cniVersion":"1.0.0","name":"multus","type":"multus",%s}`
	const capable = `"capabilities":{"portMappings":true},`
	for conf, want := range map[string]string{
		capable + `"delegates":[` + list + `]`:                             "[multus bridge portguard] true",
		`"delegates":[` + list + `]`:                                       "[multus bridge portguard] false",
		capable + `"delegates":[` + single + `]`:                           "[multus bridge] false",
		capable + `"clusterNetwork":"/host/etc/cni/net.d/20-net.conflist"`: "[multus bridge portguard] true",
		capable + `"clusterNetwork":"net"`:                                 "[multus bridge portguard] true",
		capable + `"clusterNetwork":"other"`:                               "[multus] false",
	} {
		d := dir(t, map[string]string{"00-multus.conf": fmt.Sprintf(multus, conf), "20-net.conflist": list})
		lists, err := Read(d)
		if err != nil || len(lists) != 2 {
			t.Fatal(err, lists)
		}
		if got := fmt.Sprint(lists[0].Types, " ", lists[0].Capable); got != want {
			t.Errorf("%s: got %s, want %s", conf, got, want)
		}
	}
}

// What libcni loads is loaded, and nothing else.
func TestLoadIsLibcnis(t *testing.T) {
	for name, text := range map[string]string{
		"a.conflist": list, "c.conflist": "{", "d.conflist": `{"name":"x","cniVersion":"1.0.0"}`,
		"e.conflist": `{"cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}`, "f.conflist": `{"name":"x","cniVersion":"1.0.0","plugins":[{}]}`,
		"g.conflist": `{"name":"x","cniVersion":"1.0.0","plugins":[]}`, "i.conflist": `{"name":"x","cniVersion":"1.0.0","plugins":[{"type":7}]}`,
	} {
		file := filepath.Join(dir(t, map[string]string{name: text}), name)
		got, err := load(file)
		want, lerr := libcni.ConfListFromFile(file)
		if (err == nil) != (lerr == nil) || err == nil && len(got) != len(want.Plugins) {
			t.Errorf("%s: got %v, libcni says %v", text, err, lerr)
		}
	}
}

func TestConfig(t *testing.T) {
	bad := strings.Replace(list, `"capabilities"`, `"conflictPolicy":"x","capabilities"`, 1)
	for _, tt := range []struct {
		name, dir, dataDir string
		fails              bool
	}{
		{"the first that names portguard", dir(t, map[string]string{"1.conf": single, "2.conflist": list}), "/run/x", false},
		{"no directory", "/nonexistent", "/run/cni/portguard", false},
		{"nobody names it", dir(t, map[string]string{"1.conf": single}), "/run/cni/portguard", false},
		{"a wrong one says where its records are", dir(t, map[string]string{"1.conflist": bad}), "/run/x", true},
	} {
		c, err := Config(tt.dir)
		if c == nil || c.DataDir != tt.dataDir || (err != nil) != tt.fails {
			t.Errorf("%s: got %+v, %v", tt.name, c, err)
		}
	}
}

// The name of the list is that of the network, as libcni hands it to the plugin.
func TestConfigHasTheNameOfTheNetwork(t *testing.T) {
	own := `{"cniVersion":"1.0.0","name":"one","type":"portguard"}`
	for file, want := range map[string]string{"1.conflist": "net", "1.conf": "one"} {
		c, err := Config(dir(t, map[string]string{file: map[string]string{"net": list, "one": own}[want]}))
		if err != nil || c.Name != want {
			t.Errorf("%s: got %q, %v", file, c.Name, err)
		}
	}
}
