// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
)

// by is a listener of a process.
func by(l hostport.Listener, pid int, comm string) hostport.Listener {
	l.Holder.PID, l.Holder.Comm = pid, comm
	return l
}

// forContainer is a socket of docker-proxy.
func forContainer(target, name string) hostport.Listener {
	l := by(listens(hostport.TCP, "0.0.0.0", 80), 7, "docker-proxy")
	l.Holder.Target, l.Holder.Docker = netip.MustParseAddrPort(target), name
	return l
}

// forDaemon is a socket of docker's daemon with userland-proxy=false.
func forDaemon(addr, name string) hostport.Listener {
	l := by(listens(hostport.TCP, addr, 80), 7, "dockerd")
	l.Holder.Docker = name
	return l
}

// The remedy is that of the claim: its first finding says what it is and what to do.
func TestRemedyFits(t *testing.T) {
	docker := []string{"PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", "DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80"}
	// pkg/agent/route/route_linux.go of Antrea
	antrea := node().rules(t, v4, true, "PREROUTING -j ANTREA-PREROUTING", `ANTREA-PREROUTING -m comment --comment "Antrea: DNAT external to NodePort packets" -m set --match-set ANTREA-NODEPORT-IP dst,dst -j DNAT --to-destination 169.254.0.252`)
	antrea.Sets = fakeSets{rules: antrea.Rulesets[0].Source.(*xtrule.Tables), members: map[string][]string{"ANTREA-NODEPORT-IP": {"hash:ip,port", nodeIP + ",tcp:80"}}}
	for _, tt := range []struct {
		name string
		s    Snapshot
		want []string
	}{
		{"Antrea", antrea, []string{"it is a NodePort of Service with an unknown name (of Antrea)", "change the Service's nodePort"}},
		{"IPVS", node().serves(server(hostport.TCP, nodeIP, 80)), []string{"IPVS virtual server 192.0.2.1:80/tcp has it", "ipvsadm -Ln shows it"}},
		{"firewalld's iptables", node().rules(t, v4, true, "PREROUTING -j PREROUTING_ZONES", "PREROUTING_ZONES -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.88.0.9:80"),
			[]string{"firewalld forwards it", "--remove-forward-port"}},
		{"podman's rules of iptables", node().rules(t, v4, true, "PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT", "NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 80 -j NETAVARK-DN-1D8721804F16F",
			"NETAVARK-DN-1D8721804F16F -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.89.5.2:80"), []string{"podman publishes it", "podman ps --filter publish=80"}},
		{"a process", node().with(listens(hostport.TCP, "0.0.0.0", 80)), []string{"; stop it or choose another hostPort"}},
		{"a link", node().with(kernels(hostport.TCP, "0.0.0.0", 80, "vxlan flannel.1")), []string{"the kernel's own vxlan flannel.1", "give that link another port"}},
		{"a socket unit", node().with(by(listens(hostport.TCP, "0.0.0.0", 80), 1, "systemd")), []string{"systemctl list-sockets | grep 80"}},
		{"one address", node().with(listens(hostport.TCP, "192.0.2.1", 80)), []string{"give the pod a hostIP of another one, or the network excludeCIDRs with 192.0.2.1/32"}},
		{"docker's daemon", node().with(by(listens(hostport.TCP, "0.0.0.0", 80), 7, "dockerd")), []string{"docker ps --filter publish=80"}},
		{"podman's monitor", node().with(by(listens(hostport.TCP, "0.0.0.0", 80), 7, "conmon")), []string{"podman ps --filter publish=80"}},
		{"docker's rule before its proxy", node().with(by(listens(hostport.TCP, "0.0.0.0", 80), 7, "docker-proxy")).rules(t, v4, true, docker...),
			[]string{"docker publishes it (DNAT to 172.17.0.2:80", "docker ps --filter publish=80 names the container"}},
		{"and its container", node().with(forContainer("172.17.0.3:80", "other"), forContainer("172.17.0.2:80", "shop")).rules(t, v4, true, docker...),
			[]string{"docker publishes it for container shop (DNAT to 172.17.0.2:80", "docker stop shop, or choose another hostPort"}},
		{"and that of the same address, where the daemon keeps the ports", node().with(forDaemon(nodeIP, "shop"), forDaemon(other, "bank")).rules(t, v4, true,
			docker[0], "DOCKER -d "+other+"/32 ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.3:80"),
			[]string{"docker publishes it for container bank (DNAT to 172.17.0.3:80", "docker stop bank, or choose"}},
		{"a proxy without a rule", node().with(forContainer("172.17.0.2:80", "shop")), []string{"docker-proxy (pid 7, container shop) listens on 0.0.0.0:80; docker stop shop, or choose"}},
		{"all ports", node().rules(t, v4, true, "PREROUTING -p tcp -j REDIRECT --to-ports 15001"), []string{"it takes all ports that come to it: let it leave this one out"}},
		{"all ports of an address", node().rules(t, v4, true, "PREROUTING -d 192.0.2.1/32 -p tcp -j REDIRECT --to-ports 15001"), []string{"it takes all ports that come to it of 192.0.2.1"}},
		{"OVN-Kubernetes", node().rules(t, v4, true, "PREROUTING -j OVN-KUBE-NODEPORT", "OVN-KUBE-NODEPORT -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 80 -j DNAT --to-destination 10.96.3.7:80"),
			[]string{"it is a NodePort of Service with an unknown name (of OVN-Kubernetes)", "change the Service's nodePort"}},
	} {
		r, err := Find(attach(mapTo(v4, "")), tt.s)
		if err != nil || len(r.Conflicts) == 0 {
			t.Errorf("%s: %v, %+v", tt.name, err, r)
			continue
		}
		for _, want := range tt.want {
			if got := r.Conflicts[0].Message; !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q", tt.name, got, want)
			}
		}
		if f := r.Conflicts[0]; f.Remedy == "" || !strings.HasSuffix(f.Message, "; "+f.Remedy) {
			t.Errorf("%s: the remedy is %q, of %q", tt.name, f.Remedy, f.Message)
		}
	}
}
