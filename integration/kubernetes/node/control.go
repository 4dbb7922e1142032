// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/keyutil"
)

// Kubeconfig is that of an administrator.
const Kubeconfig = scratch + "/kubeconfig"

const (
	certs    = scratch + "/certs"
	key      = certs + "/sa.key"
	services = "10.96.0.0/16,fd00:96::/112"
	token    = "token-of-the-test"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://` + ClientV4 + `:6443", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: ` + token + `}}]
contexts: [{name: e2e, context: {cluster: e2e, user: admin}}]
current-context: e2e
`

// startControlPlane starts what a cluster has apart from its nodes. Nothing here waits
// for more than etcd: the rest is asked when the services of the node start.
func (n *Node) startControlPlane(ctx context.Context) error {
	if err := n.identities(); err != nil {
		return err
	}
	if err := n.here("etcd", "etcd", "--data-dir", scratch+"/etcd", "--unsafe-no-fsync"); err != nil {
		return err
	}
	if err := n.here("kube-apiserver", n.program("kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+ClientV4, "--cert-dir="+certs,
		"--token-auth-file="+scratch+"/tokens", "--authorization-mode=Node,RBAC", "--allow-privileged",
		"--service-cluster-ip-range="+services, "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1                                  // the tests look every now and then
	config.ContentType = runtime.ContentTypeProtobuf // lists of a hundred pods, which cost less so
	n.Interface, err = kubernetes.NewForConfig(config)
	return err
}

// startControllers starts the rest, once there is an API.
func (n *Node) startControllers(ctx context.Context) error {
	if err := n.ready(ctx, "kube-apiserver", func() bool {
		return n.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil
	}); err != nil {
		return err
	}
	common := []string{"--kubeconfig=" + Kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1"}
	manager := append([]string{n.program("kube-controller-manager"), "--service-account-private-key-file=" + key,
		"--root-ca-file=" + certs + "/apiserver.crt"}, common...)
	if err := n.here("kube-controller-manager", manager...); err != nil {
		return err
	}
	return n.here("kube-scheduler", append([]string{n.program("kube-scheduler")}, common...)...)
}

func (n *Node) identities() error {
	private, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return err
	}
	for path, content := range map[string]string{
		key:                 string(private),
		scratch + "/tokens": token + ",admin,1,system:masters\n",
		Kubeconfig:          kubeconfig,
	} {
		if err := write(path, content); err != nil {
			return err
		}
	}
	return nil
}

// program is the path of a program of Kubernetes.
func (n *Node) program(name string) string { return filepath.Join(n.Bin, name) }

// Kubectl runs kubectl as the administrator and returns what it writes.
func (n *Node) Kubectl(args ...string) (string, error) {
	cmd := exec.Command(n.program("kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+Kubeconfig)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl: %w: %s", err, out)
	}
	return string(out), err
}

func write(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}
