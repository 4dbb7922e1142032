// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startServices starts what runs on a node, and the controllers beside it.
func (n *Node) startServices(ctx context.Context) error {
	if err := n.installPlugins(); err != nil {
		return err
	}
	steps := []func(context.Context) error{
		n.StartContainerd, n.importServer, n.startControllers, n.StartKubelet, n.StartProxy, n.Ready,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return Until(ctx, "pods may be made", func() bool {
		_, err := n.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
}

// Restart starts the services of a machine that was booted again.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.installPlugins(); err != nil { // its disk may be new
		return err
	}
	for _, step := range []func(context.Context) error{n.StartContainerd, n.importServer, n.StartKubelet, n.StartProxy} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// StartContainerd starts containerd and waits until it answers.
func (n *Node) StartContainerd(ctx context.Context) error {
	if err := write(n.File("/etc/containerd.toml"), containerd); err != nil {
		return err
	}
	if err := n.there("containerd", "containerd", "--config", "/etc/containerd.toml"); err != nil {
		return err
	}
	return n.ready(ctx, "containerd", func() bool { _, err := n.Exec("ctr", "version"); return err == nil })
}

// importServer gives containerd the image of which all pods are made.
func (n *Node) importServer(ctx context.Context) error { return n.Import(ctx, "server.tar") }

// Import gives containerd images that build.sh made, by the pattern of their files.
func (n *Node) Import(ctx context.Context, pattern string) error {
	images, err := filepath.Glob(filepath.Join(filepath.Dir(n.Bin), "images", pattern))
	if err != nil {
		return err
	}
	if len(images) == 0 {
		return fmt.Errorf("import %s: build.sh made none", pattern)
	}
	for _, i := range images {
		if out, err := n.Exec("ctr", "-n", "k8s.io", "images", "import", i); err != nil {
			return fmt.Errorf("import %s: %w: %s", i, err, out)
		}
	}
	return ctx.Err()
}

// StartKubelet starts the kubelet and waits until the API knows the node.
func (n *Node) StartKubelet(ctx context.Context) error {
	if err := write(n.File("/etc/kubelet.yaml"), kubelet); err != nil {
		return err
	}
	if err := n.there("kubelet", n.program("kubelet"), "--config=/etc/kubelet.yaml", "--kubeconfig="+Kubeconfig,
		"--hostname-override="+Name, "--node-ip="+V4+","+V6); err != nil {
		return err
	}
	return n.ready(ctx, "kubelet", func() bool {
		_, err := n.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
		return err == nil
	})
}

// StartProxy starts kube-proxy in the mode of the configuration.
func (n *Node) StartProxy(ctx context.Context) error {
	if err := write(n.File("/etc/kube-proxy.yaml"), fmt.Sprintf(proxy, n.Proxy)); err != nil {
		return err
	}
	if err := n.there("kube-proxy", n.program("kube-proxy"), "--config=/etc/kube-proxy.yaml"); err != nil {
		return err
	}
	// Its rules follow a second later.
	return n.ready(ctx, "kube-proxy", func() bool {
		_, err := n.Exec("curl", "-sf", "http://127.0.0.1:10256/healthz")
		return err == nil
	})
}

// SwitchProxy ends kube-proxy and starts it in another mode, as a change of its
// configuration does.
func (n *Node) SwitchProxy(ctx context.Context, mode string) error {
	if err := n.Signal("kube-proxy", syscall.SIGTERM); err != nil {
		return err
	}
	n.Proxy = mode
	return n.StartProxy(ctx)
}

// Ready waits until the node is.
func (n *Node) Ready(ctx context.Context) error {
	return n.ready(ctx, "kubelet", func() bool { return n.Condition(ctx).Status == corev1.ConditionTrue })
}

// Condition is what the kubelet says of its node's readiness.
func (n *Node) Condition(ctx context.Context) (ready corev1.NodeCondition) {
	node, err := n.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return ready
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return ready
}

// installPlugins puts the plugins and the conflist where containerd looks.
func (n *Node) installPlugins() error {
	plugins, err := os.ReadDir(n.program("plugins"))
	if err != nil {
		return err
	}
	for _, p := range plugins {
		if err := n.Install(p.Name(), filepath.Join(n.Bin, "plugins", p.Name())); err != nil {
			return err
		}
	}
	return n.Conflist(n.Plugin)
}

// Install puts a program into the plugin folder, by rename: it may run at this moment.
func (n *Node) Install(name, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	path := n.File("/opt/cni/bin/")
	if err := os.WriteFile(path+"."+name, b, 0o755); err != nil {
		return err
	}
	return os.Rename(path+"."+name, path+name)
}

// Conflist writes the network's configuration with that plugin for hostPorts, by rename.
func (n *Node) Conflist(plugin string) error {
	n.Plugin = plugin
	version := "1.0.0" // what containerd 1.6 speaks
	if n.Containerd == "2" {
		version = "1.1.0"
	}
	path := n.File("/etc/cni/net.d/10-e2e.conflist")
	if err := write(path+".new", fmt.Sprintf(conflist, version, n.Entry())); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Entry is the plugin's, as it is in the conflist.
func (n *Node) Entry() string {
	return map[string]string{
		"":          "",
		"portmap":   `,{"type":"portmap","capabilities":{"portMappings":true},"snat":true}`,
		"portguard": `,{"type":"portguard","capabilities":{"portMappings":true}` + n.Options + `}`,
	}[n.Plugin]
}
