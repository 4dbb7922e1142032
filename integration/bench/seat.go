// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/portguard/portguard/integration/bench/process"
	"github.com/portguard/portguard/integration/lab"
)

// A plugin is one program with one configuration.
type plugin struct {
	name, binary, backend, colour string
	// reserve is the key of that name, "" for its default.
	reserve string
	// stirred means that somebody changes rules before each call.
	stirred bool
}

// Names of the plugins.
const (
	noOp     = "no-op"
	guardNft = "portguard nftables"
	guardNew = "portguard nftables, rules changed"
	guardIpt = "portguard iptables"
	mapIpt   = "portmap iptables"
	mapNft   = "portmap nftables"
)

// plugins are all that take part. The colours differ for the colour-blind too.
func plugins() []plugin {
	return []plugin{
		{name: noOp, binary: "noop", backend: "", colour: "#8c8c8c"},
		{name: guardNft, binary: "portguard", backend: "nftables", colour: "#0072b2"},
		{name: guardIpt, binary: "portguard", backend: "iptables", colour: "#56b4e9"},
		{name: mapIpt, binary: "portmap", backend: "iptables", colour: "#d55e00"},
		{name: mapNft, binary: "portmap", backend: "nftables", colour: "#e69f00"},
	}
}

// A seat is a plugin on a node of its own.
type seat struct {
	plugin
	b    *bench
	node *lab.Node
	// own is the pod whose ADD is measured; first and last are the outermost of
	// those that hold ports.
	own, first, last attachment
	// open has sockets open, if it is set.
	open *loader
}

// An attachment is a pod's, with its addresses and the ports it asks for.
type attachment struct {
	pod    *lab.Pod
	v4, v6 string
	ports  []lab.Port
}

// newSeat makes a node whose iptables is of the flavour, with a bridge as the
// plugin of that name makes it, and one pod.
func (b *bench) newSeat(p plugin, flavour string) *seat {
	s := &seat{plugin: p, b: b, node: lab.NewNode(b, b.bin, flavour)}
	s.node.Feed(`link add cni0 type bridge
addr add 10.88.0.1/16 dev cni0
addr add fd00:88::1/64 dev cni0 nodad
link set cni0 up
`, "ip", "-batch", "-")
	s.own = s.wire(0)
	return s
}

// asks is the seat's own pod with some ports.
func (s *seat) asks(ports ...lab.Port) attachment {
	a := s.own
	a.ports = ports
	return a
}

// close removes the node; its pods go with the rest.
func (s *seat) close() {
	if s.open != nil {
		s.open.stop()
	}
	s.node.Delete()
	s.node.Client.Delete()
}

// wire makes a pod that packets get to: the i-th of the node.
func (s *seat) wire(i int, ports ...lab.Port) attachment {
	pod := s.node.NewPod(fmt.Sprintf("wired%d", i))
	a := attachment{pod, fmt.Sprintf("10.88.1.%d", i+1), fmt.Sprintf("fd00:88::1:%x", i+1), ports}
	s.node.Feed(fmt.Sprintf("link add pod%[1]d type veth peer name eth0 netns %[2]s\nlink set pod%[1]d master cni0 up\n", i, pod.Name),
		"ip", "-batch", "-")
	pod.Feed(fmt.Sprintf(`addr add %s/16 dev eth0
addr add %s/64 dev eth0 nodad
link set eth0 up
route add default via 10.88.0.1
route add default via fd00:88::1
`, a.v4, a.v6), "ip", "-batch", "-")
	return a
}

// unwired is an attachment of a pod that nothing is sent to. All nodes share the
// namespaces of these.
func (b *bench) unwired(i int, ports ...lab.Port) attachment {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.idle) <= i {
		name := fmt.Sprintf("pod%d", len(b.idle))
		ns := lab.NewNetns(b, "idle")
		b.idle = append(b.idle, &lab.Pod{Netns: ns, ID: name + "-" + ns.Name,
			Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + name})
	}
	return attachment{b.idle[i], fmt.Sprintf("10.88.2.%d", i+1), fmt.Sprintf("fd00:88::2:%x", i+1), ports}
}

// command is a call of the plugin.
func (s *seat) command(verb string, a attachment) process.Command {
	conf := map[string]any{"cniVersion": "1.0.0", "name": "net", "type": s.binary, "capabilities": map[string]bool{"portMappings": true},
		"dataDir": filepath.Join(s.b.state, s.node.Name), "claimWait": "0s", "lockTimeout": "1m", // a busy machine measures too
		"prevResult": map[string]any{"cniVersion": "1.0.0",
			"interfaces": []any{map[string]any{"name": "eth0", "sandbox": a.pod.Path}},
			"ips": []any{map[string]any{"address": a.v4 + "/16", "interface": 0},
				map[string]any{"address": a.v6 + "/64", "interface": 0}}}}
	if s.backend != "" {
		conf["backend"] = s.backend
	}
	if s.reserve != "" {
		conf["reserve"] = s.reserve
	}
	if len(a.ports) > 0 {
		conf["runtimeConfig"] = map[string]any{"portMappings": a.ports}
	}
	input, err := json.Marshal(conf)
	if err != nil {
		s.b.Fatalf("%v", err)
	}
	// Environ keeps the last of two of a name, which is the node's PATH.
	env := exec.Cmd{Env: slices.Concat(s.node.Env, []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + a.pod.ID,
		"CNI_NETNS=" + a.pod.Path, "CNI_IFNAME=eth0", "CNI_PATH=" + s.b.bin, "CNI_ARGS=" + a.pod.Args})}
	return process.Command{Path: filepath.Join(s.b.bin, s.binary), Input: string(input), Env: env.Environ()}
}

// try calls the plugin.
func (s *seat) try(verb string, a attachment) (process.Result, error) {
	c := s.command(verb, a)
	var r process.Result
	var err error
	s.node.Do(func() { r, err = c.Run() })
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("%s: %s of %s on %s: exit status %d: %s", s.name, verb, a.pod.ID, s.node.Name, r.Code, r.Output)
	}
	return r, err
}

// run is try that must succeed.
func (s *seat) run(verb string, a attachment) process.Result {
	r, err := s.try(verb, a)
	if err != nil {
		s.b.Fatalf("%v", err)
	}
	return r
}

// call is run, and returns the milliseconds that took.
func (s *seat) call(verb string, a attachment) float64 {
	return float64(s.run(verb, a).Took.Microseconds()) / 1000
}

// trace calls the plugin under the eyes of ptrace.
func (s *seat) trace(verb string, a attachment) process.Cost {
	c := s.command(verb, a)
	var r process.Result
	var cost process.Cost
	var err error
	s.node.Do(func() { r, cost, err = c.Trace() })
	if err != nil || r.Code != 0 {
		s.b.Fatalf("%s: %s: %v %s", s.name, verb, err, r.Output)
	}
	return cost
}

// settle lets the kernel finish what the call before has left to it.
func settle() { time.Sleep(2 * time.Millisecond) }

// sizeOf is a program's, in bytes.
func (b *bench) sizeOf(binary string) int64 {
	info, err := os.Stat(filepath.Join(b.bin, binary))
	if err != nil {
		b.Fatalf("%v", err)
	}
	return info.Size()
}
