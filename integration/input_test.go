// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
)

// Bad input is refused with a CNI error that names the field, and changes
// nothing.
func TestBadInput(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	pod := n.NewPod("bad")
	before := n.Rules()
	port := func(s string) string { return direct(n, pod, "["+s+"]", "") }
	for _, tc := range []struct{ name, conf, field string }{
		{"hostPort 0", port(`{"hostPort":0,"containerPort":80}`), "runtimeConfig.portMappings[0].hostPort"},
		{"hostPort -1", port(`{"hostPort":-1,"containerPort":80}`), "portMappings[0].hostPort"},
		{"hostPort 70000", port(`{"hostPort":70000,"containerPort":80}`), "portMappings[0].hostPort"},
		{"hostPort as a string", port(`{"hostPort":"80","containerPort":80}`), "portMappings[0].hostPort"},
		{"hostPort as a fraction", port(`{"hostPort":80.5,"containerPort":80}`), "portMappings[0].hostPort"},
		{"containerPort 0", port(`{"hostPort":80,"containerPort":0}`), "portMappings[0].containerPort"},
		{"the second entry", port(`{"hostPort":80,"containerPort":80},{"hostPort":81}`), "portMappings[1].containerPort"},
		{"protocol foo", port(`{"hostPort":80,"containerPort":80,"protocol":"foo"}`), "portMappings[0].protocol"},
		{"protocol 6", port(`{"hostPort":80,"containerPort":80,"protocol":6}`), "portMappings[0].protocol"},
		{"hostIP bogus", port(`{"hostPort":80,"containerPort":80,"hostIP":"bogus"}`), "portMappings[0].hostIP"},
		{"hostIP ::1", port(`{"hostPort":80,"containerPort":80,"hostIP":"::1"}`), "portMappings[0].hostIP"},
		{"hostIP with a zone", port(`{"hostPort":80,"containerPort":80,"hostIP":"fe80::1%eth0"}`), "portMappings[0].hostIP"},
		{"hostIP of a family the pod lacks", strings.Replace(port(`{"hostPort":80,"containerPort":80,"hostIP":"2001:db8::1"}`), `,{"address":"fd00:88::77/64","interface":0}`, "", 1), "portMappings[0].hostIP"},
		{"portMappings as an object", strings.Replace(port(""), `"portMappings":[]`, `"portMappings":{}`, 1), "runtimeConfig.portMappings"},
		{"missing prevResult", fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":"portguard","dataDir":"%s/state"}`, n.Dir), "prevResult"},
		{"prevResult without an address", strings.Replace(strings.Replace(port(`{"hostPort":80,"containerPort":80}`), `{"address":"10.88.0.77/16","interface":0},`, "", 1), `{"address":"fd00:88::77/64","interface":0}`, "", 1), "prevResult"},
		{"an index of no interface", strings.Replace(port(`{"hostPort":80,"containerPort":80}`), `"interface":0`, `"interface":5`, 1), "prevResult.ips[0].interface"},
		{"hostIP 255.255.255.255", port(`{"hostPort":80,"containerPort":80,"hostIP":"255.255.255.255"}`), "portMappings[0].hostIP"},
		{"hostIP of a network's broadcasts", port(`{"hostPort":80,"containerPort":80},{"hostPort":81,"containerPort":80,"hostIP":"192.0.2.255"}`), "portMappings[1].hostIP"},
		{"hostIP 0.0.0.1", port(`{"hostPort":80,"containerPort":80,"hostIP":"0.0.0.1"}`), "portMappings[0].hostIP"},
		{"hostIP 240.0.0.1", port(`{"hostPort":80,"containerPort":80,"hostIP":"240.0.0.1"}`), "portMappings[0].hostIP"},
		{"broken JSON", `{"cniVersion":"1.0.0","name":"net",`, "network config"},
		{"unknown backend", direct(n, pod, mapping, `,"backend":"ipfw"`), "backend"},
		{"markMasqBit 99", direct(n, pod, mapping, `,"markMasqBit":99`), "markMasqBit"},
		{"both mark options", direct(n, pod, mapping, `,"markMasqBit":5,"externalSetMarkChain":"KUBE-MARK-MASQ"`), "markMasqBit"},
		{"snat as a string", direct(n, pod, mapping, `,"snat":"yes"`), "snat"},
		{"masqAll as a number", direct(n, pod, mapping, `,"masqAll":1`), "masqAll"},
		{"conditionsV4 as a string", direct(n, pod, mapping, `,"conditionsV4":"-s 1.2.3.4"`), "conditionsV4"},
		{"conditions of nftables with a verdict", direct(n, pod, mapping, `,"conditionsV4":["ip","saddr","1.2.3.4","accept"]`), "conditionsV4[3]"},
		{"conditions nft cannot read", direct(n, pod, mapping, `,"conditionsV4":["ip","saddr","{","1.2.3.4"]`), "conditionsV4"},
		{"conditions of two languages", direct(n, pod, mapping, `,"conditionsV4":["ip","saddr","1.2.3.4"],"conditionsV6":["-s","::1"]`), "conditionsV6"},
		{"conditions of the other backend", direct(n, pod, mapping, `,"backend":"iptables","conditionsV4":["ip","saddr","1.2.3.4"]`), "conditionsV4"},
		{"conditions with a line break", direct(n, pod, mapping, `,"conditionsV4":["-s","1.2.3.4\nCOMMIT"]`), "conditionsV4[1]"},
		{"conditions with a target", direct(n, pod, mapping, `,"conditionsV6":["-s","::/0","-j","ACCEPT"]`), "conditionsV6[2]"},
		{"unknown policy", direct(n, pod, mapping, `,"conflictPolicy":"ask"`), "conflictPolicy"},
		{"localhost as a string", direct(n, pod, mapping, `,"localhost":"on"`), "localhost"},
		{"excludeCIDRs bogus", direct(n, pod, mapping, `,"excludeCIDRs":["10.0.0.0/8","x"]`), "excludeCIDRs[1]"},
		{"lockTimeout bogus", direct(n, pod, mapping, `,"lockTimeout":"soon"`), "lockTimeout"},
		{"lockTimeout negative", direct(n, pod, mapping, `,"lockTimeout":"-1s"`), "lockTimeout"},
		{"dataDir relative", strings.Replace(direct(n, pod, mapping, ""), n.Dir+"/state", "state", 1), "dataDir"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, _, err := n.Call("ADD", pod, tc.conf)
			var e struct {
				Code uint   `json:"code"`
				Msg  string `json:"msg"`
			}
			if err == nil || json.Unmarshal([]byte(out), &e) != nil || e.Code == 0 {
				t.Fatalf("want a CNI error, got %v: %s", err, out)
			}
			if !strings.Contains(e.Msg, tc.field) {
				t.Errorf("message %q does not name %q", e.Msg, tc.field)
			}
			unchanged(t, n, before)
		})
	}
	t.Run("a network namespace that is not one", func(t *testing.T) {
		p := *pod
		for _, path := range []string{"/nonexistent", "/etc/passwd"} {
			ns := *pod.Netns
			ns.Path = path
			p.Netns = &ns
			if out, _, err := n.Call("ADD", &p, direct(n, pod, mapping, "")); err == nil || !strings.Contains(out, "CNI_NETNS") {
				t.Errorf("%s: %v %s", path, err, out)
			}
		}
		unchanged(t, n, before)
	})
}

// prevResult passes through in every version, and protocol names in any case.
func TestVersions(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	for _, v := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(v, func(t *testing.T) {
			pod := n.NewPod("v")
			version := ""
			if v[0] == '0' {
				version = `"version":"4",`
			}
			result := fmt.Sprintf(`{"cniVersion":%q,"interfaces":[{"name":"eth0","mac":"0a:00:00:00:00:01","sandbox":%q}],
				"ips":[{%s"address":"10.88.0.77/16","gateway":"10.88.0.1","interface":0}],
				"routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["10.96.0.10"]}}`, v, pod.Path, version)
			conf := fmt.Sprintf(`{"cniVersion":%q,"name":"net","type":"portguard","dataDir":"%s/state","unknown":{"key":1},
				"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":80,"protocol":"TCP"},{"hostPort":81,"containerPort":80,"protocol":""}]},
				"prevResult":%s}`, v, n.Dir, result)
			out, errs, err := n.Call("ADD", pod, conf)
			if err != nil {
				t.Fatalf("ADD: %s %s", out, errs)
			}
			var got, want any
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			_ = json.Unmarshal([]byte(result), &want)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("result differs from prevResult (-want +got):\n%s", d)
			}
			if c := n.Mapped("10.88.0.77"); c != 2 {
				t.Errorf("%d translations, want 2", c)
			}
			if v > "0.3.1" {
				if out, _, err := n.Call("CHECK", pod, conf); err != nil {
					t.Errorf("CHECK: %s", out)
				}
			}
			if out, _, err := n.Call("DEL", pod, conf); err != nil {
				t.Errorf("DEL: %s", out)
			}
		})
	}
	out, _, err := n.Call("VERSION", n.NewPod("v"), "")
	if err != nil || !strings.Contains(out, `["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]`) {
		t.Errorf("VERSION: %v %s", err, out)
	}
}

// Lists of CNI before 0.3 work with the real libcni, bridge and host-local: ADD, traffic,
// ADD again, DEL.
func TestOldVersions(t *testing.T) {
	n := newNode(t, "", "nft")
	for _, v := range []string{"", "0.1.0", "0.2.0"} {
		t.Run("version "+v, func(t *testing.T) {
			list := strings.Replace(n.Network("net", "46", nil), `"cniVersion":"1.1.0",`, map[bool]string{true: "", false: fmt.Sprintf(`"cniVersion":%q,`, v)}[v == ""], 1)
			pod := n.NewPod("web")
			pod.Serve(80, "web")
			for range 2 {
				n.MustAdd(pod, list, lab.TCP(8080, 80))
				want(t, "who answers", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
				if err := n.Del(pod, list, lab.TCP(8080, 80)); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}
			if got := n.Mapped(""); got != 0 {
				t.Errorf("%d translations are left", got)
			}
		})
	}
}

// A DEL does its work whatever is on stdin, also where CNI's library would refuse that. The
// state directory is the default one, which is all that is known then.
func TestDelOfAnything(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	own := []string{"unshare", "-m", "sh", "-c", `mkdir -p /run/cni "$0/cni" && mount --bind "$0/cni" /run/cni && exec "$@"`, n.Dir}
	conf := strings.Replace(direct(n, pod, mapping, ""), fmt.Sprintf(`"dataDir":"%s/state"`, n.Dir), `"cacheDir":"/nonexistent"`, 1)
	for _, stdin := range []string{
		"", "null", "{", "[]", `"net"`, "{}", "{\xff}", `{"cniVersion":"1.0.0"}`, `{"cniVersion":7,"name":"net"}`, `{"cniVersion":"9.9.9","name":"net"}`, `{"cniVersion":"x","name":"../y"}`,
		`{"name":{},"dataDir":7,"lockTimeout":[],"runtimeConfig":7,"prevResult":"x"}`, `{"name":"net","dataDir":"state","lockTimeout":"-1s"}`, strings.Repeat("[", 20000),
	} {
		if out, _, err := n.Call("ADD", pod, conf, own...); err != nil {
			t.Fatalf("ADD: %v %s", err, out)
		}
		if out, errs, err := n.Call("DEL", pod, stdin, own...); err != nil || out != "" {
			t.Errorf("DEL with %.30q: %v %s %s", stdin, err, out, errs)
		}
		unchanged(t, n, "")
	}
}
