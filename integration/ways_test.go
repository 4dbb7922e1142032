// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/metrics"
	"github.com/portguard/portguard/pkg/way"
)

// agree compares what a real connection from outside to a hostPort says with what each of the
// four commands does, and with each other. It returns what doctor finds.
func agree(t *testing.T, n *lab.Node, pod *lab.Pod, name string, port int, reaches bool) map[string]doctor.Finding {
	t.Helper()
	a := ask(t, n, fmt.Sprintf("0.0.0.0:%d/tcp", port))
	sides(t, n, pod, a)
	for _, o := range a.Outside { // which is true, so
		want(t, "from outside", answerer(o), map[bool]string{true: name}[reaches])
	}
	e := listed(t, n)[fmt.Sprintf("0.0.0.0 %d/tcp", port)]
	if (e.State == inventory.OK || e.State == inventory.Shadowed && strings.Contains(e.Reason, "gets nothing")) != reaches {
		t.Errorf("list says %s: %s", e.State, e.Reason)
	}
	found, _ := diagnosis(t, n)
	ill := slices.ContainsFunc(way.Checks(), func(c string) bool { return found[c].Severity == doctor.Problem }) || e.State == inventory.Shadowed
	if ill == reaches {
		t.Errorf("doctor says %+v", found)
	}
	counted(t, n, e)
	return found
}

// counted wants metrics to count a mapping as list shows it.
func counted(t *testing.T, n *lab.Node, e inventory.Entry) {
	t.Helper()
	out, err := cli(n, "metrics", "-o", "json")
	var doc metrics.Document
	if jerr := json.Unmarshal([]byte(out), &doc); err != nil || jerr != nil {
		t.Fatalf("metrics: %v, %v\n%s", err, jerr, out)
	}
	if !slices.ContainsFunc(doc.Metrics, func(m metrics.Metric) bool {
		return m.Name == "portguard_mappings" && m.Labels["state"] == string(e.State) && m.Labels["by"] == e.By
	}) {
		t.Errorf("metrics has no mapping that is %s", e.State)
	}
}

// serving makes a node with a pod that serves by the hostPorts.
func serving(t *testing.T, conf lab.Conf, ports ...lab.Port) (n *lab.Node, web *lab.Pod) {
	t.Helper()
	n = lab.NewNode(t, bin, "nft")
	list := n.Network("net", "4", conf)
	confDir(t, n, list)
	web = n.NewPod("web")
	web.Serve(80, "web")
	n.MustAdd(web, list, ports...)
	return n, web
}

// An ending is what closes, or does not close, the way from outside to hostPort 8080 of a pod.
type ending struct {
	name string
	// do makes it, undo unmakes it; each line is a command.
	do, undo string
	// check is that of doctor's finding, "" if the way stays open; says is a part of it.
	check, says string
	// remedy, if set, is run instead of undo first: the packets get through with it.
	remedy bool
}

// Whatever ends the way of packets is found by all commands, where traffic says so, and the
// remedy helps. What does not end it is no finding.
func TestWayIsTrue(t *testing.T) {
	t.Parallel()
	n, web := serving(t, nil, lab.TCP(8080, 80))
	n.Run("ip", "link", "add", "docker0", "type", "bridge")
	for _, e := range []ending{
		{"nothing", "true", "true", "", "", false},
		{"a policy", "iptables -P FORWARD DROP", "iptables -F FORWARD; iptables -P FORWARD ACCEPT", way.CheckFilter, "policy of iptables-nft IPv4 filter FORWARD", true},
		{"a policy and one accept of another link", "iptables -P FORWARD DROP; iptables -A FORWARD -i docker0 -j ACCEPT", "iptables -F FORWARD; iptables -P FORWARD ACCEPT", way.CheckFilter, "policy", true},
		{"a policy and one accept of other sources", "iptables -P FORWARD DROP; iptables -A FORWARD -s 10.8.0.0/24 -j ACCEPT", "iptables -F FORWARD; iptables -P FORWARD ACCEPT", way.CheckFilter, "policy", true},
		{"only answers are accepted", "iptables -P FORWARD DROP; iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", "iptables -F FORWARD; iptables -P FORWARD ACCEPT", way.CheckFilter, "policy", true},
		{"only first packets are", "iptables -P FORWARD DROP; iptables -A FORWARD -i eth0 -o cni0 -j ACCEPT", "iptables -F FORWARD; iptables -P FORWARD ACCEPT", way.CheckFilter, "the answer is lost", true},
		{"what is translated is accepted", "iptables -P FORWARD DROP; iptables -A FORWARD -m conntrack --ctstate DNAT -j ACCEPT", "iptables -F FORWARD; iptables -P FORWARD ACCEPT", "", "", false},
		{"the original port is", "iptables -P FORWARD DROP; iptables -A FORWARD -m conntrack --ctorigdstport 8080 -j ACCEPT", "iptables -F FORWARD; iptables -P FORWARD ACCEPT", "", "", false},
		{"a mark is", "iptables -P FORWARD DROP; iptables -t mangle -A PREROUTING -i eth0 -j CONNMARK --set-mark 5; iptables -A FORWARD -m connmark --mark 5 -j ACCEPT",
			"iptables -t mangle -F; iptables -F FORWARD; iptables -P FORWARD ACCEPT", "", "", false},
		{"a policy of iptables-legacy", "iptables-legacy -P FORWARD DROP", "iptables-legacy -F FORWARD; iptables-legacy -P FORWARD ACCEPT", way.CheckFilter, "policy of iptables-legacy IPv4 filter FORWARD", true},
		{"a drop in a chain that translates", "nft add table ip fw; nft 'add chain ip fw p { type nat hook prerouting priority -110; }'; nft add rule ip fw p tcp dport 8080 drop", "nft delete table ip fw", way.CheckFilter, "tcp dport 8080 drop", false},
		{"a drop in the very last chain", "nft add table ip fw; nft 'add chain ip fw p { type filter hook prerouting priority 2147483647; }'; nft add rule ip fw p tcp dport 80 drop", "nft delete table ip fw", way.CheckFilter, "tcp dport 80 drop", false},
		{"a filter of nftables", "nft add table inet fw; nft 'add chain inet fw f { type filter hook forward priority 0; policy drop; }'; nft add rule inet fw f iif docker0 accept", "nft delete table inet fw", way.CheckFilter, "policy of nftables inet fw f", true},
		{"a verdict map of links", "nft add table inet fw; nft 'add chain inet fw f { type filter hook forward priority 0; policy drop; }'; nft 'add rule inet fw f iifname vmap { eth0 : accept, cni0 : accept }'", "nft delete table inet fw", "", "", false},
		{"what opens a connection", "iptables -A FORWARD -p tcp --syn -j DROP", "iptables -F FORWARD", way.CheckFilter, "iptables-nft IPv4 filter FORWARD: \"-p tcp", true},
		{"a drop in raw", "iptables -t raw -A PREROUTING -i eth0 -p tcp --dport 8080 -j DROP", "iptables -t raw -F", way.CheckFilter, "iptables-nft IPv4 raw PREROUTING", true},
		{"NOTRACK", "iptables -t raw -A PREROUTING -i eth0 -p tcp --dport 8080 -j NOTRACK", "iptables -t raw -F", way.CheckFilter, "connection tracking", true},
		{"NOTRACK of answers", "iptables -t raw -A PREROUTING -i cni0 -p tcp --sport 80 -j CT --notrack", "iptables -t raw -F", way.CheckFilter, "the answer is lost: taken out of connection tracking", true},
		{"of others' answers", "iptables -t raw -A PREROUTING -s 169.254.20.10 -p tcp --sport 80 -j NOTRACK; iptables -t raw -A PREROUTING -i cni0 -p tcp --sport 53 -j NOTRACK", "iptables -t raw -F", "", "", false},
		{"NOTRACK of nftables for answers", "nft add table inet fw; nft 'add chain inet fw f { type filter hook prerouting priority -300; }'; nft add rule inet fw f ip saddr 10.88.0.0/16 notrack", "nft delete table inet fw", way.CheckFilter, "the answer is lost: taken out of connection tracking", true},
		{"a drop at postrouting", "iptables -t mangle -A POSTROUTING -o cni0 -j DROP", "iptables -t mangle -F", way.CheckFilter, "iptables-nft IPv4 mangle POSTROUTING", false},
		{"a policy of INPUT", "iptables -P INPUT DROP", "iptables -P INPUT ACCEPT", "", "", false},
		{"a link that does not forward", "sysctl -qw net.ipv4.conf.eth0.forwarding=0", "sysctl -qw net.ipv4.conf.eth0.forwarding=1", way.CheckForward, "eth0 does not forward", true},
		{"the pod's link does not", "sysctl -qw net.ipv4.conf.cni0.forwarding=0", "sysctl -qw net.ipv4.conf.cni0.forwarding=1", way.CheckForward, "cni0 does not forward", true},
		{"the node does not", "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1", way.CheckForward, "net.ipv4.ip_forward is 0", true},
		{"a blackhole for the pod", "ip route add blackhole 10.88.0.2", "ip route del blackhole 10.88.0.2", way.CheckRoute, "there is no route to 10.88.0.2", false},
		{"with a strict rp_filter", "ip route add blackhole 10.88.0.2; sysctl -qw net.ipv4.conf.all.rp_filter=1", "ip route del blackhole 10.88.0.2; sysctl -qw net.ipv4.conf.all.rp_filter=0", way.CheckRoute, "there is no route to 10.88.0.2", false},
		{"a route for the pod that prohibits", "ip route add prohibit 10.88.0.2", "ip route del prohibit 10.88.0.2", way.CheckRoute, "there is no route to 10.88.0.2", false},
		{"no route back", "ip route add unreachable 192.0.2.2", "ip route del unreachable 192.0.2.2", way.CheckRoute, "the answer is lost: there is no route to 192.0.2.2", false},
	} {
		t.Run(e.name, func(t *testing.T) {
			n.Run("sh", "-ec", e.do)
			found := agree(t, n, web, "web", 8080, e.check == "")
			if !strings.Contains(found[e.check].Message, e.says) {
				t.Errorf("doctor says %+v, want %q", found, e.says)
			}
			if e.remedy {
				remedy := found[e.check].Remedy
				if _, after, ok := strings.Cut(remedy, ": "); ok {
					remedy = after
				}
				n.Run("sh", "-ec", remedy)
				agree(t, n, web, "web", 8080, true)
			}
			n.Run("sh", "-ec", e.undo)
		})
	}
	agree(t, n, web, "web", 8080, true)
}
