// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/backend/reservation"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
)

// A process that is refused need not know why: every command does, and names both sides.
func TestRefusedBindIsNoRiddle(t *testing.T) {
	t.Parallel()
	n := newNode(t, "", "nft")
	list := n.Network("net", "46", nil)
	confDir(t, n, list)
	pod := n.NewPod("web")
	n.MustAdd(pod, list, lab.TCP(8080, 80), lab.UDP(9090, 80))
	if found, fit := diagnosis(t, n); !fit || found["reservation"].Severity != "info" || strings.Contains(found["reservation"].Message, "not refused") {
		t.Errorf("doctor: %+v", found)
	}
	for range 3 { // bash says why a redirection to /dev/tcp fails; this one listens
		if out, err := n.Try("", "python3", "-c", `import socket; socket.socket().bind(("0.0.0.0", 8080))`); err == nil || !strings.Contains(out, "Address already in use") {
			t.Fatalf("bind: %v %s", err, out)
		}
	}
	l := inventoryOf(t, n)
	if len(l.RefusedBinds) != 1 || !l.Reservation.On {
		t.Fatalf("list: %+v", l)
	}
	r := l.RefusedBinds[0]
	if r.Count != 3 || r.Port != 8080 || r.Protocol.String() != "tcp" || r.Command != "python3" || r.Address.String() != "0.0.0.0" || fmt.Sprint(r.Holders) != "[pod default/web]" {
		t.Errorf("refused binds: %+v", r)
	}
	for _, e := range l.HostPorts {
		if !e.Reserved || e.State != inventory.OK {
			t.Errorf("list: %+v", e)
		}
	}
	says := "pod default/web holds 8080/tcp; a bind was refused 3 times, last to python3 (pid "
	for _, args := range [][]string{{"explain", "8080/tcp"}, {"list"}, {"doctor"}} {
		if out, _ := cli(n, args...); !strings.Contains(out, says) {
			t.Errorf("%v says\n%s", args, out)
		}
	}
	if out, _ := cli(n, "metrics"); !strings.Contains(out, `portguard_refused_binds_total{port="8080",protocol="tcp"} 3`) || !strings.Contains(out, "portguard_reservation 1\n") {
		t.Errorf("metrics:\n%s", out)
	}
	if err := n.Del(pod, list); err != nil {
		t.Fatal(err)
	}
	if l := inventoryOf(t, n); len(l.RefusedBinds) > 0 {
		t.Errorf("remembered after DEL: %+v", l.RefusedBinds)
	}
}

func inventoryOf(t *testing.T, n *lab.Node) (l inventory.List) {
	t.Helper()
	out, err := cli(n, "list", "-o", "json")
	if jerr := json.Unmarshal([]byte(out), &l); err != nil || jerr != nil {
		t.Fatalf("list: %v, %v\n%s", err, jerr, out)
	}
	return l
}

// What an ADD holds that is killed before it has written its record, the next call of anybody
// frees.
func TestKilledWhileItHolds(t *testing.T) {
	t.Parallel()
	n := newNode(t, "nftables", "nft")
	list := n.Network("net", "46", nil)
	confDir(t, n, list)
	pod, other := n.NewPod("web"), n.NewPod("other")
	link(n, pod)
	mustCall(t, n, "ADD", other, direct(n, other, `[{"hostPort":81,"containerPort":81}]`, ""))
	before := n.Rules()
	for name, next := range map[string]func(){
		"an ADD": func() { mustCall(t, n, "ADD", other, direct(n, other, `[{"hostPort":81,"containerPort":81}]`, "")) },
		"a DEL":  func() { mustCall(t, n, "DEL", pod, direct(n, pod, mapping, "")) },
		"a GC":   func() { mustCall(t, n, "GC", other, collect(n, "net", validAre(other))) },
		"gc":     func() { n.Run("sh", "-c", n.Bin+"/portguard gc --conf-dir "+n.Dir+"/net.d") },
	} {
		holdFor(t, n, pod)
		if err := n.Bind(lab.Socket{Network: "tcp4"}, 8080); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%s: bind after the kill: %v", name, err)
		}
		next()
		t.Logf("%s: %s", name, n.Held())
		if err := n.Bind(lab.Socket{Network: "tcp4"}, 8080); err != nil {
			t.Errorf("bind after %s: %v", name, err)
		}
		unchanged(t, n, before)
	}
}

// holdFor holds ports as an ADD does before it looks at the node, and is gone then.
func holdFor(t *testing.T, n *lab.Node, p *lab.Pod) {
	t.Helper()
	a := hostport.Attachment{Owner: hostport.Owner{Network: "net", ContainerID: p.ID, IfName: "eth0"}}
	for _, f := range hostport.Families() {
		a.Mappings = append(a.Mappings, hostport.Mapping{Family: f, Proto: hostport.TCP, HostPort: 8080, ContainerPort: 80})
	}
	var err error
	n.Do(func() {
		b := reservation.New(reservation.Options{Ports: host.Ports{}, Known: func(hostport.Key) bool { return true }})
		var st backend.State
		if st, err = b.Load(); err == nil {
			err = b.Apply(st, st.With(a))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
