// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// A Port is one entry of portMappings.
type Port struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol,omitempty"`
	HostIP        string `json:"hostIP,omitempty"`
}

// TCP and UDP are the usual ports.
func TCP(host, container int) Port {
	return Port{HostPort: host, ContainerPort: container, Protocol: "tcp"}
}

// UDP is like TCP.
func UDP(host, container int) Port {
	return Port{HostPort: host, ContainerPort: container, Protocol: "udp"}
}

// On returns p restricted to one address.
func (p Port) On(ip string) Port { p.HostIP = ip; return p }

// Conf is the configuration of one portguard (or portmap) in a conflist.
type Conf map[string]any

// Network returns a conflist: the bridge plugin with host-local for the
// families ("4", "6", "46"), then the plugin under test with conf.
func (n *Node) Network(name, families string, conf Conf) string {
	ranges := []any{}
	for _, f := range families {
		subnet := PodNetV4
		if f == '6' {
			subnet = PodNetV6
		}
		ranges = append(ranges, []any{map[string]any{"subnet": subnet}})
	}
	bridge := map[string]any{
		"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
		// With bridge-nf-call-iptables a pod's packet to itself leaves by the
		// port it came from.
		"hairpinMode": true,
		"ipam": map[string]any{"type": "host-local", "dataDir": filepath.Join(n.Dir, "ipam"), "ranges": ranges,
			"routes": []any{map[string]any{"dst": "0.0.0.0/0"}, map[string]any{"dst": "::/0"}}},
	}
	if families == "4" {
		bridge["ipam"].(map[string]any)["routes"] = []any{map[string]any{"dst": "0.0.0.0/0"}}
	}
	b, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": name, "plugins": []any{bridge, n.Plugin(conf)}})
	if err != nil {
		n.T.Fatalf("%v", err)
	}
	return string(b)
}

// Plugin completes conf with the type, the capability, the state directory and no wait for
// other pods.
func (n *Node) Plugin(conf Conf) Conf {
	full := Conf{"type": "portguard", "capabilities": map[string]bool{"portMappings": true}, "dataDir": filepath.Join(n.Dir, "state"),
		"claimWait": "0s"} // a refusal is to come at once
	if n.Backend != "" && conf["type"] == nil && conf["conditionsV4"] == nil && conf["conditionsV6"] == nil {
		full["backend"] = n.Backend
	}
	maps.Copy(full, conf)
	return full
}

// A Pod is a container's namespace with the addresses it got.
type Pod struct {
	*Netns
	ID     string
	V4, V6 string
	// Args is CNI_ARGS.
	Args string
	// IfName is the interface, "" for eth0.
	IfName string
	// servers are those of Serve.
	servers []io.Closer
}

// On is another interface of the pod, with addresses of its own.
func (p *Pod) On(ifName string) *Pod {
	return &Pod{Netns: p.Netns, ID: p.ID, Args: p.Args, IfName: ifName}
}

// NewPod makes a namespace for a pod; Add gives it addresses.
func (n *Node) NewPod(name string) *Pod {
	n.T.Helper()
	ns := NewNetns(n.T, "pod")
	return &Pod{Netns: ns, ID: name + "-" + ns.Name,
		Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + name}
}

// runner is libcni's, with the node's PATH and stderr kept.
type runner struct {
	*invoke.DefaultExec
	node *Node
}

func (r runner) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	return r.DefaultExec.ExecPlugin(ctx, path, stdin, append(env, r.node.Env[len(r.node.Env)-1]))
}

// cni calls f with a libcni that runs plugins on the node.
func (n *Node) cni(p *Pod, list string, ports []Port, f func(*libcni.CNIConfig, *libcni.NetworkConfigList, *libcni.RuntimeConf) error) (string, error) {
	n.T.Helper()
	var stderr bytes.Buffer
	exec := runner{&invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: &stderr}}, n}
	c := libcni.NewCNIConfigWithCacheDir([]string{n.Bin}, filepath.Join(n.Dir, "cache"), exec)
	l, err := libcni.ConfListFromBytes([]byte(list))
	if err != nil {
		n.T.Fatalf("conflist: %v\n%s", err, list)
	}
	rt := &libcni.RuntimeConf{ContainerID: p.ID, NetNS: p.Path, IfName: cmp.Or(p.IfName, "eth0"), Args: args(p.Args)}
	if len(ports) > 0 {
		rt.CapabilityArgs = map[string]any{"portMappings": ports}
	}
	n.Do(func() { err = f(c, l, rt) })
	return stderr.String(), err
}

func args(s string) [][2]string {
	var out [][2]string
	for pair := range strings.SplitSeq(s, ";") {
		k, v, ok := strings.Cut(pair, "=")
		if ok {
			out = append(out, [2]string{k, v})
		}
	}
	return out
}

// Add adds the pod to the network, as a runtime does: what failed is deleted.
// It returns what the plugins wrote to stderr.
func (n *Node) Add(p *Pod, list string, ports ...Port) (string, error) {
	n.T.Helper()
	return n.cni(p, list, ports, func(c *libcni.CNIConfig, l *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
		res, err := c.AddNetworkList(context.Background(), l, rt)
		if err != nil {
			_ = c.DelNetworkList(context.Background(), l, rt)
			return err
		}
		r, err := current.NewResultFromResult(res)
		if err != nil {
			return err
		}
		for _, ip := range r.IPs {
			if ip.Address.IP.To4() != nil {
				p.V4 = ip.Address.IP.String()
			} else {
				p.V6 = ip.Address.IP.String()
			}
		}
		return nil
	})
}

// MustAdd is Add that must succeed.
func (n *Node) MustAdd(p *Pod, list string, ports ...Port) string {
	n.T.Helper()
	out, err := n.Add(p, list, ports...)
	if err != nil {
		n.T.Fatalf("ADD %s: %v\n%s", p.ID, err, out)
	}
	return out
}

// Del deletes the pod's attachment; libcni adds what it cached at ADD.
func (n *Node) Del(p *Pod, list string, ports ...Port) error {
	n.T.Helper()
	_, err := n.cni(p, list, ports, func(c *libcni.CNIConfig, l *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
		return c.DelNetworkList(context.Background(), l, rt)
	})
	return err
}

// Check runs CHECK.
func (n *Node) Check(p *Pod, list string, ports ...Port) error {
	n.T.Helper()
	_, err := n.cni(p, list, ports, func(c *libcni.CNIConfig, l *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
		return c.CheckNetworkList(context.Background(), l, rt)
	})
	return err
}

// Serve starts a TCP and a UDP server on a port of the pod, both families.
func (p *Pod) Serve(port int, name string) {
	p.T.Helper()
	p.servers = append(p.servers, p.ServeTCP("tcp", fmt.Sprintf(":%d", port), name), p.ServeUDP("udp", fmt.Sprintf(":%d", port), name))
}

// Stop ends what Serve has started.
func (p *Pod) Stop() {
	for _, s := range p.servers {
		_ = s.Close()
	}
}

// Call runs the plugin itself for the pod's eth0, and returns its outputs. The
// command line may be wrapped (strace).
func (n *Node) Call(command string, p *Pod, conf string, wrap ...string) (stdout, stderr string, err error) {
	n.T.Helper()
	return n.CallOn("eth0", command, p, conf, wrap...)
}

// CallOn is Call for another interface.
func (n *Node) CallOn(ifName, command string, p *Pod, conf string, wrap ...string) (stdout, stderr string, err error) {
	n.T.Helper()
	argv := append(slices.Clone(wrap), filepath.Join(n.Bin, "portguard"))
	n.Do(func() {
		cmd := n.Command(argv...)
		cmd.Env = slices.Concat(n.Env, []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + p.ID,
			"CNI_NETNS=" + p.Path, "CNI_IFNAME=" + ifName, "CNI_PATH=" + n.Bin, "CNI_ARGS=" + p.Args})
		var out, errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(conf), &out, &errs
		err = cmd.Run()
		stdout, stderr = out.String(), errs.String()
	})
	return stdout, stderr, err
}

// Time runs a plugin for the pod's eth0 and returns how long it took.
func (n *Node) Time(plugin, command string, p *Pod, conf string) (took time.Duration, out string, err error) {
	n.T.Helper()
	n.Do(func() {
		cmd := n.Command(filepath.Join(n.Bin, plugin))
		cmd.Env = slices.Concat(n.Env, []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + p.ID,
			"CNI_NETNS=" + p.Path, "CNI_IFNAME=eth0", "CNI_PATH=" + n.Bin})
		var b bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(conf), &b, &b
		start := time.Now()
		err = cmd.Run()
		took, out = time.Since(start), b.String()
	})
	return took, out, err
}

// StateFiles lists the records in the node's state directory.
func (n *Node) StateFiles() []string {
	files, _ := filepath.Glob(filepath.Join(n.Dir, "state", "*.json"))
	return files
}

// WipeState removes the state directory.
func (n *Node) WipeState() { _ = os.RemoveAll(filepath.Join(n.Dir, "state")) }
