// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// statusConf is the configuration of a STATUS.
func statusConf(n *lab.Node, more string) string {
	return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"portguard","capabilities":{"portMappings":true},"dataDir":"%s/state"%s}`, n.Dir, more)
}

// What keeps only pods with hostPorts from starting fails no STATUS, because that would keep
// all others from starting. Doctor tells it.
func TestStatusIsForEveryPod(t *testing.T) {
	n := newNode(t, "", "nft")
	path := n.Env
	noTools := func() func() {
		n.Run("sh", "-c", "mkdir "+n.Dir+"/sh; ln -s /bin/sh "+n.Dir+"/sh")
		n.Env = append(slices.Clone(path), "PATH="+n.Dir+"/sh")
		return func() { n.Env = path }
	}
	sh := func(cause, undo string) func() func() {
		return func() func() {
			n.Run("sh", "-c", cause)
			return func() { n.Run("sh", "-c", undo) }
		}
	}
	n.Run("sh", "-c", "touch "+n.Dir+"/file; mkdir "+n.Dir+"/ro")
	n.Mount(filepath.Join(n.Dir, "ro"), "ro")
	for _, tt := range []struct {
		name, check, says string
		conf              lab.Conf
		cause             func() (undo func())
	}{
		{"a fresh node", "", "", nil, nil},
		{"iptables", "", "", lab.Conf{"backend": "iptables"}, nil},
		{"no capability", "capability", "portMappings", lab.Conf{"capabilities": map[string]bool{}}, nil},
		{"dataDir below a file", "state", "not a directory", lab.Conf{"dataDir": n.Dir + "/file/x"}, nil},
		{"dataDir read-only", "state", "read-only", lab.Conf{"dataDir": n.Dir + "/ro/x"}, nil},
		{"no tools", "backend", "not installed", lab.Conf{"backend": "iptables"}, noTools},
		{"rules of kube-proxy in both flavours", "backend", "both iptables-legacy and iptables-nft", lab.Conf{"backend": "iptables"},
			sh("for i in nft legacy; do iptables-$i -t nat -N KUBE-SERVICES; iptables-$i -t nat -A PREROUTING -j KUBE-SERVICES; done",
				"for i in nft legacy; do iptables-$i -t nat -F PREROUTING; iptables-$i -t nat -X KUBE-SERVICES; done")},
		{"nftables in ipvs mode", "backend", "ipvs mode", lab.Conf{"backend": "nftables"}, sh("ip link add kube-ipvs0 type bridge", "ip link del kube-ipvs0")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			confDir(t, n, n.Network("net", "4", tt.conf))
			pod := n.NewPod("plain")
			if tt.cause != nil {
				defer tt.cause()()
			}
			entry := n.Plugin(tt.conf)
			maps.Copy(entry, lab.Conf{"cniVersion": "1.1.0", "name": "net", "prevResult": json.RawMessage(
				`{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.88.0.77/16","interface":0}]}`)})
			conf, err := json.Marshal(entry)
			if err != nil {
				t.Fatal(err)
			}
			for _, verb := range []string{"STATUS", "ADD"} { // of a pod without hostPorts
				mustCall(t, n, verb, pod, string(conf))
			}
			found, fit := diagnosis(t, n)
			if f := found[tt.check]; fit != (tt.check == "") || !strings.Contains(f.Message, tt.says) {
				t.Errorf("doctor, fit %t: %+v, want %q", fit, found, tt.says)
			}
		})
	}
}

// What no plugin can do anything without fails STATUS: a configuration that can be read, and
// the right to change this network namespace.
func TestStatusFails(t *testing.T) {
	n := newNode(t, "", "nft")
	pod := n.NewPod("pod")
	if out, _, err := n.Call("STATUS", pod, statusConf(n, `,"snat":1`)); err == nil || !strings.Contains(out, `"code": 7`) {
		t.Errorf("a wrong configuration: %v %s", err, out)
	}
	before := n.Rules()
	for _, backend := range []string{"auto", "nftables", "iptables"} {
		out, err := asStranger(n, []string{"CNI_COMMAND=STATUS", "CNI_PATH=" + n.Bin}, statusConf(n, fmt.Sprintf(`,"backend":%q`, backend)))
		if err == nil || !strings.Contains(out, `"code": 50`) || !strings.Contains(out, "CAP_NET_ADMIN") {
			t.Errorf("root of another user namespace, %s: %v %s", backend, err, out)
		}
	}
	for _, args := range [][]string{{"doctor"}, {"list"}, {"explain", "80"}} {
		out, err := asStranger(n, nil, "", args...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out, "CAP_NET_ADMIN") {
			t.Errorf("%s: %v %s", args, err, out)
		}
	}
	unchanged(t, n, before)
}

// asStranger runs portguard in the network namespace of the node, as root of a user namespace
// that it does not belong to.
func asStranger(n *lab.Node, env []string, stdin string, args ...string) (out string, err error) {
	n.Do(func() {
		cmd := n.Command(append([]string{filepath.Join(n.Bin, "portguard")}, args...)...)
		cmd.Env, cmd.Stdin, cmd.SysProcAttr = append(slices.Clone(n.Env), env...), strings.NewReader(stdin), rootOfUserns(0)
		var b []byte
		b, err = cmd.CombinedOutput()
		out = string(b)
	})
	return out, err
}

// Where /proc/sys is read-only, a pod that needs none of it starts, and doctor tells who does not.
func TestReadOnlySysctls(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	readOnly := []string{"unshare", "-m", "sh", "-c", `mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$0" "$@"`}
	before := n.Rules()
	for _, tt := range []struct {
		more string
		conf lab.Conf
		says string
	}{
		{"", nil, `set "localhost": false`},
		{`,"localhost":false`, lab.Conf{"localhost": false}, ""},
	} {
		dir := confDir(t, n, n.Network("net", "4", tt.conf))
		if out, _, err := n.Call("STATUS", pod, statusConf(n, tt.more), readOnly...); err != nil {
			t.Errorf("STATUS: %s", out)
		}
		out, err := n.Try("", append(slices.Clone(readOnly), filepath.Join(n.Bin, "portguard"), "doctor", "--conf-dir", dir)...)
		if (err == nil) != (tt.says == "") || !strings.Contains(out, tt.says) {
			t.Errorf("doctor: %v %s", err, out)
		}
		unchanged(t, n, before)
		out, _, err = n.Call("ADD", pod, direct(n, pod, mapping, tt.more), readOnly...)
		if (err == nil) != (tt.says == "") || !strings.Contains(out, strings.ReplaceAll(tt.says, `"`, `\"`)) {
			t.Errorf("ADD: %v %s", err, out)
		}
		mustCall(t, n, "DEL", pod, bare(n))
		unchanged(t, n, before)
	}
}

// Rules of iptables-legacy are read without CAP_NET_RAW, which a container seldom has.
func TestReadWithoutNetRaw(t *testing.T) {
	n := lab.NewNode(t, bin, "legacy")
	n.Iptables("", "-t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9999")
	out, _ := n.Try("", "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", bin+"/portguard", "explain", "8080/tcp")
	if !strings.Contains(out, "would be refused (code 103)") {
		t.Error(out)
	}
}
