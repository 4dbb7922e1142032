// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/integration/lab"
)

func TestMasquerading(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		all, off := n.NewPod("all"), n.NewPod("off")
		all.Serve(80, "all")
		off.Serve(80, "off")
		n.MustAdd(all, n.Network("net", "46", lab.Conf{"masqAll": true}), lab.TCP(8080, 80))
		want(t, "masqAll", n.Client.Get("tcp4", lab.NodeV4+":8080"), "all 10.88.0.1")
		want(t, "masqAll, IPv6", n.Client.Get("tcp6", "["+lab.NodeV6+"]:8080"), "all fd00:88::1")
		list := n.Network("net", "46", lab.Conf{"snat": false})
		n.MustAdd(off, list, lab.TCP(8081, 80))
		want(t, "snat off", n.Client.Get("tcp4", lab.NodeV4+":8081"), "off "+lab.ClientV4)
		want(t, "snat off, localhost", n.Who("tcp4", "127.0.0.1:8081"), "")
		key := "--ctorigdstport 8081"
		if strings.Contains(n.Rules(), key) {
			t.Errorf("snat is off, but there are masquerade rules:\n%s", n.Rules())
		}
	})
}

// Conditions restrict their own attachment and no other.
func TestConditions(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		only := n.Network("net", "46", lab.Conf{"conditionsV4": []string{"!", "-s", lab.ClientV4}, "conditionsV6": []string{"-m", "comment", "--comment", `it's "quoted" \ here`}})
		list := n.Network("net", "46", nil)
		a, b := n.NewPod("a"), n.NewPod("b")
		a.Serve(80, "a")
		b.Serve(80, "b")
		n.MustAdd(a, only, lab.TCP(8080, 80))
		n.MustAdd(b, list, lab.TCP(8081, 80))
		want(t, "a client that the condition excludes", n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
		want(t, "the node itself", n.Who("tcp4", lab.NodeV4+":8080"), "a")
		want(t, "IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:8080"), "a")
		want(t, "the other attachment", n.Client.Who("tcp4", lab.NodeV4+":8081"), "b")
		if err := n.Check(a, only, lab.TCP(8080, 80)); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		if err := n.Del(a, only, lab.TCP(8080, 80)); err != nil {
			t.Error(err)
		}
		if strings.Contains(n.Rules(), "8080") {
			t.Errorf("rules left:\n%s", n.Rules())
		}
	})
}

func TestExcludeCIDRs(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		n.Run("ip", "addr", "add", "198.51.100.7/24", "dev", "eth0")
		list := n.Network("net", "46", lab.Conf{"excludeCIDRs": []string{"198.51.100.0/24", "127.0.0.1", "2001:db8:2::/64"}})
		pod := n.NewPod("web")
		pod.Serve(80, "pod")
		n.ServeTCP("tcp4", "198.51.100.7:80", "host")
		n.ServeTCP("tcp4", "127.0.0.1:80", "host")
		n.MustAdd(pod, list, lab.TCP(80, 80))
		want(t, "a mapped address", n.Client.Who("tcp4", lab.NodeV4+":80"), "pod")
		want(t, "an excluded address", n.Client.Who("tcp4", "198.51.100.7:80"), "host")
		want(t, "localhost", n.Who("tcp4", "127.0.0.1:80"), "host")
		want(t, "IPv6", n.Client.Who("tcp6", "["+lab.NodeV6+"]:80"), "")
		if err := n.Check(pod, list, lab.TCP(80, 80)); err != nil {
			t.Errorf("CHECK: %v", err)
		}
	})
}

// In ipvs mode every ClusterIP is a local address; none is ever taken.
func TestClusterIPsOfIPVS(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		if n.Native() {
			n.Backend = "auto" // which has to see that nftables will not do
		}
		n.Run("ip", "link", "add", "kube-ipvs0", "type", "bridge")
		n.Run("ip", "addr", "add", "10.96.0.1/32", "dev", "kube-ipvs0")
		n.ServeTCP("tcp4", "10.96.0.1:443", "service") // ip_vs itself is not in every kernel
		pod := n.NewPod("web")
		pod.Serve(443, "pod")
		list := n.Network("net", "4", nil)
		for _, how := range []string{"without ipsets", "with ipsets"} {
			if how == "with ipsets" {
				n.Run("ipset", "create", "KUBE-IPVS-IPS", "hash:ip")
				n.Run("ipset", "add", "KUBE-IPVS-IPS", "10.96.0.1")
				n.Run("ipset", "create", "KUBE-NODE-PORT-TCP", "bitmap:port", "range", "0-65535")
			}
			n.MustAdd(pod, list, lab.TCP(443, 443), lab.TCP(444, 443))
			want(t, how+": the node address", n.Client.Who("tcp4", lab.NodeV4+":443"), "pod")
			want(t, how+": the ClusterIP", n.Who("tcp4", "10.96.0.1:443"), "service")
			want(t, how+": a port no Service has", n.Who("tcp4", "10.96.0.1:444"), "")
			if how == "with ipsets" {
				n.Run("ip", "addr", "add", "10.96.0.2/32", "dev", "kube-ipvs0")
				n.Run("ipset", "add", "KUBE-IPVS-IPS", "10.96.0.2")
				want(t, how+": a ClusterIP that came later", n.Who("tcp4", "10.96.0.2:444"), "")
				n.Run("ipset", "add", "KUBE-NODE-PORT-TCP", "444")
				want(t, how+": a NodePort that came later", n.Client.Who("tcp4", lab.NodeV4+":444"), "")
				refused(t, n, list, 105, []string{"address of a Service"}, lab.TCP(445, 443).On("10.96.0.1"))
			}
			if err := n.Del(pod, list, lab.TCP(443, 443), lab.TCP(444, 443)); err != nil {
				t.Error(err)
			}
		}
	})
}

// The kernel here need not have SCTP sockets: the pod gets a raw INIT chunk.
func TestSCTP(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		pod := n.NewPod("sctp")
		n.MustAdd(pod, n.Network("net", "4", nil), lab.Port{HostPort: 5000, ContainerPort: 38412, Protocol: "SCTP"})
		var in net.PacketConn
		var err error
		pod.Do(func() { in, err = net.ListenPacket("ip4:132", "0.0.0.0") })
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		n.Client.Do(func() {
			var out net.Conn
			if out, err = net.Dial("ip4:132", lab.NodeV4); err == nil {
				_, err = out.Write(sctpInit(40000, 5000))
				out.Close()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = in.SetReadDeadline(time.Now().Add(2 * time.Second))
		b := make([]byte, 1500)
		k, from, err := in.ReadFrom(b)
		if err != nil || k < 4 {
			t.Fatalf("the pod received nothing: %v", err)
		}
		if port := int(b[2])<<8 | int(b[3]); port != 38412 || from.String() != lab.ClientV4 {
			t.Errorf("the pod received port %d from %s", port, from)
		}
	})
}

func TestIPv6SwitchedOff(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1")
		list := n.Network("net", "4", nil)
		pod := n.NewPod("web")
		pod.Serve(80, "pod")
		n.MustAdd(pod, list, lab.TCP(80, 80))
		want(t, "IPv4", n.Client.Who("tcp4", lab.NodeV4+":80"), "pod")
		if err := n.Check(pod, list, lab.TCP(80, 80)); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		if err := n.Del(pod, list, lab.TCP(80, 80)); err != nil {
			t.Error(err)
		}
	})
}

// A lock that somebody else holds is waited for, but not for ever.
func TestLockTimeout(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	dir := filepath.Join(n.Dir, "state")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	pod := n.NewPod("web")
	list := n.Network("net", "4", lab.Conf{"lockTimeout": "300ms"})
	start := time.Now()
	_, err = n.Add(pod, list, lab.TCP(80, 80))
	var ce *types.Error
	if !errors.As(err, &ce) || ce.Code != types.ErrTryAgainLater {
		t.Errorf("got %v, want error %d", err, types.ErrTryAgainLater)
	}
	if d := time.Since(start); d < 300*time.Millisecond || d > 5*time.Second {
		t.Errorf("waited %s", d)
	}
}

// The same for the lock of iptables-legacy.
func TestXtablesLock(t *testing.T) {
	n := newNode(t, "iptables", "legacy")
	file := filepath.Join(n.Dir, "xtables.lock")
	n.Env = append(n.Env, "XTABLES_LOCKFILE="+file)
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	pod := n.NewPod("web")
	start := time.Now()
	out, _, err := n.Call("ADD", pod, direct(n, pod, mapping, `,"lockTimeout":"1s"`))
	if err == nil || !strings.Contains(out, `"code": 11`) || !strings.Contains(out, "xtables lock") {
		t.Errorf("%v %s", err, out)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("waited %s", d)
	}
	unchanged(t, n, "")
	if len(n.StateFiles()) > 0 {
		t.Errorf("state left: %v", n.StateFiles())
	}
}

// cnitool is what people try a conflist with.
func TestCnitool(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	pod := n.NewPod("web")
	pod.Serve(80, "pod")
	if err := os.WriteFile(filepath.Join(n.Dir, "10-net.conflist"), []byte(n.Network("net", "46", nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Env = append(n.Env, "NETCONFPATH="+n.Dir, "CNI_PATH="+n.Bin,
		`CAP_ARGS={"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}`)
	answer := map[string]string{"add": "pod", "check": "pod", "del": ""}
	for _, verb := range []string{"add", "check", "del"} {
		n.Run(filepath.Join(n.Bin, "cnitool"), verb, "net", pod.Path)
		want(t, "after "+verb, n.Client.Who("tcp4", lab.NodeV4+":8080"), answer[verb])
	}
	if strings.Contains(n.Rules(), "portguard") {
		t.Errorf("rules left:\n%s", n.Rules())
	}
}

// sctpInit is a packet with one INIT chunk (RFC 9260) and its CRC32c.
func sctpInit(src, dst uint16) []byte {
	b := []byte{byte(src >> 8), byte(src), byte(dst >> 8), byte(dst), 0, 0, 0, 0, 0, 0, 0, 0,
		1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1}
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	b[8], b[9], b[10], b[11] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	return b
}
