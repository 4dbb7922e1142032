// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/way"
)

// filters is what a tool wrote, without the lines that match drop.
func filters(t *testing.T, file, drop string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/filters/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if drop == "" {
		return string(b)
	}
	return regexp.MustCompile("(?m)^.*"+regexp.QuoteMeta(drop)+".*\n").ReplaceAllString(string(b), "")
}

// load lays rules as their tool does, and returns what takes them away.
func load(n *lab.Node, file, rules string) (unload func()) {
	if strings.HasSuffix(file, ".nft") {
		n.Feed(rules, "nft", "-f", "-")
		return func() {
			for _, m := range regexp.MustCompile(`(?m)^table (\S+ \S+) `).FindAllStringSubmatch(rules, -1) {
				n.Run("sh", "-ec", "nft delete table "+m[1])
			}
		}
	}
	n.Feed(rules, "iptables-restore")
	return func() {
		n.Run("sh", "-ec", "for t in filter nat mangle raw; do iptables -t $t -F; iptables -t $t -X; done; for c in INPUT FORWARD OUTPUT; do iptables -P $c ACCEPT; done")
	}
}

// kubeRouter are the rules of kube-router for a pod that a NetworkPolicy selects, and which
// nobody may connect to (pkg/controllers/netpol/network_policy_controller.go and pod.go).
const kubeRouter = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-ROUTER-OUTPUT - [0:0]
:KUBE-POD-FW-AB2CDEFGHIJKLMNO - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A OUTPUT -m comment --comment "kube-router netpol - VEAAIY32XVBHCSCY" -j KUBE-ROUTER-OUTPUT
-A KUBE-ROUTER-FORWARD -d POD/32 -m comment --comment "rule to jump traffic destined to POD name:web" -j KUBE-POD-FW-AB2CDEFGHIJKLMNO
-A KUBE-ROUTER-FORWARD -s POD/32 -m comment --comment "rule to jump traffic from POD name:web" -j KUBE-POD-FW-AB2CDEFGHIJKLMNO
-A KUBE-ROUTER-FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-POD-FW-AB2CDEFGHIJKLMNO -m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-POD-FW-AB2CDEFGHIJKLMNO -m comment --comment "rule to drop invalid state for pod" -m conntrack --ctstate INVALID -j DROP
-A KUBE-POD-FW-AB2CDEFGHIJKLMNO -d POD/32 -m comment --comment "rule to permit the traffic to pods when source is the pod's local node" -m addrtype --src-type LOCAL -j ACCEPT
-A KUBE-POD-FW-AB2CDEFGHIJKLMNO -m comment --comment "rule to REJECT traffic destined for POD name:web" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-POD-FW-AB2CDEFGHIJKLMNO -j MARK --set-xmark 0x0/0x10000
-A KUBE-POD-FW-AB2CDEFGHIJKLMNO -m comment --comment "set mark to ACCEPT traffic that comply to network policies" -j MARK --set-xmark 0x20000/0x20000
COMMIT
`

// What tools write closes the way or leaves it open as traffic says, and the remedy is of the
// tool whose rules they are.
func TestFiltersOfTools(t *testing.T) {
	t.Parallel()
	n, web := serving(t, nil, lab.TCP(8080, 80))
	n.Run("ip", "link", "add", "docker0", "type", "bridge")
	n.ServeTCP("tcp4", ":9000", "host")
	for _, tt := range []struct {
		name, file string
		// drop is a line that is not there, more is a command.
		drop, more string
		// remedy is a part of it, "" if the way is open; helps is the command that it names.
		remedy string
		helps  string
		// silent is set if doctor has nothing to say.
		silent bool
	}{
		{"ufw", "ufw.iptables", "", "", "ufw route allow in on eth0 out on cni0 to any port 80 proto tcp", "", false},
		{"ufw after its remedy", "ufw-open.iptables", "", "", "", "", true},
		{"docker", "docker-published.iptables", "", "", "", "", true},
		{"docker that has switched forwarding on", "docker-published.iptables", "", "iptables -P FORWARD DROP", "iptables-nft -I DOCKER-USER", "iptables-nft -I DOCKER-USER -m conntrack --ctstate DNAT -j ACCEPT", false},
		{"libvirt", "libvirt.iptables", "", "", "", "", true},
		{"firewalld", "firewalld.nft", "", "", "", "", true},
		{"firewalld with its iptables backend", "firewalld-iptables.iptables", "", "", "", "", true},
		{"firewalld with StrictForwardPorts", "firewalld-strict.nft", "", "", "it is firewalld's: set StrictForwardPorts=no in /etc/firewalld/firewalld.conf, then firewall-cmd --reload", "", false},
		{"firewalld without a rule for what was translated", "firewalld.nft", "ct status dnat accept", "", "--new-policy=hostports", "", false},
		{"and after its remedy", "firewalld-policy.nft", "ct status dnat accept", "", "", "", true},
		{"firewalld, and FORWARD drops", "firewalld.nft", "", "iptables -P FORWARD DROP", "iptables-nft -I FORWARD", "iptables-nft -I FORWARD -m conntrack --ctstate DNAT -j ACCEPT", false},
		{"firewalld in panic mode", "firewalld-panic.nft", "", "", "firewall-cmd --panic-off", "nft delete table inet firewalld_policy_drop; nft add table inet firewalld_policy_drop", false},
		{"firewalld with its iptables backend in panic mode", "firewalld-iptables.iptables", "", "for t in raw mangle; do iptables -t $t -P PREROUTING DROP; done",
			"firewall-cmd --panic-off if firewalld is in panic mode, else iptables-nft -t raw -P PREROUTING ACCEPT", "for t in raw mangle; do iptables -t $t -P PREROUTING ACCEPT; done", false},
		{"kube-router", "kube-router.iptables", "", "", "NetworkPolicy", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules := strings.ReplaceAll(kubeRouter, "POD/", web.V4+"/")
			if tt.name != "kube-router" {
				rules = filters(t, tt.file, tt.drop)
			}
			unload := load(n, tt.file, rules)
			if tt.more != "" {
				n.Run("sh", "-ec", tt.more)
			}
			found := agree(t, n, web, "web", 8080, tt.remedy == "")
			if !strings.Contains(found[way.CheckFilter].Remedy, tt.remedy) {
				t.Errorf("doctor says %+v, want %q", found, tt.remedy)
			}
			if n := problems(found); tt.silent && n > 0 {
				t.Errorf("doctor says %+v", found)
			}
			sides(t, n, web, ask(t, n, "0.0.0.0:9000/tcp"))
			if tt.helps != "" {
				n.Run("sh", "-ec", tt.helps)
				agree(t, n, web, "web", 8080, true)
			}
			unload()
			n.Run("iptables", "-F", "FORWARD")
			n.Run("iptables", "-P", "FORWARD", "ACCEPT")
		})
	}
}

// problems counts what is more than an info.
func problems(found map[string]doctor.Finding) (n int) {
	for _, f := range found {
		if f.Severity != doctor.Info {
			n++
		}
	}
	return n
}

// Who comes later with a rule of its own has the packets if it is asked first, and nothing
// otherwise.
func TestLaterClaims(t *testing.T) {
	t.Parallel()
	n, _ := serving(t, lab.Conf{"reserve": "off"}, lab.TCP(8081, 80), lab.TCP(8088, 80).On("192.0.2.99")) // listeners come later
	shop := container(t, n)
	shop.ServeTCP("tcp4", ":80", "shop")
	state := func(says, who, remedy string) {
		t.Helper()
		if found, _ := diagnosis(t, n); !strings.Contains(found["shadowed"].Remedy, remedy) {
			t.Errorf("doctor says %+v, want %q", found["shadowed"], remedy)
		}
		want(t, "from outside", n.Client.Who("tcp4", lab.NodeV4+":8081"), who)
		if e := listed(t, n)["0.0.0.0 8081/tcp"]; e.State != inventory.Shadowed || !strings.Contains(e.Reason, says) {
			t.Errorf("list says %s: %s, want %q", e.State, e.Reason, says)
		}
		if o := ask(t, n, "0.0.0.0:8081/tcp").Outside[0]; (o.Kind == "hostPort") != (who == "web") {
			t.Errorf("explain says %+v", o)
		}
	}
	unload := load(n, "docker-published.iptables", filters(t, "docker-published.iptables", ""))
	proxy := n.ServeTCP("tcp4", ":8081", "docker-proxy")
	state("docker, DNAT to 172.17.0.2:80 takes its traffic", "shop", "docker ps --filter publish=8081 names the container")
	unload()
	proxy.Close()
	n.Run("sh", "-ec", "ip link set eth0 group 5; iptables -t nat -I PREROUTING -m devgroup --src-group 5 -p tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80")
	state("DNAT to 172.17.0.2:80 takes its traffic", "shop", "iptables-nft -t nat -D")
	n.Run("sh", "-ec", "iptables -t nat -D PREROUTING 1")
	unload = load(n, "firewalld-forward.nft", filters(t, "firewalld-forward.nft", ""))
	state("gets nothing: the mapping is asked first", "web", "--remove-forward-port")
	unload()

	e := listed(t, n)["192.0.2.99 8088/tcp"]
	if e.State != inventory.Absent {
		t.Errorf("list says %s of a hostIP that is not there", e.State)
	}
	if a := ask(t, n, "192.0.2.99:8088/tcp"); !a.Foreign || len(a.Outside) > 0 {
		t.Errorf("explain says %+v", a)
	}
	if found, _ := diagnosis(t, n); found["address"].Severity != doctor.Warning {
		t.Errorf("doctor says %+v", found)
	}
	counted(t, n, e)
	n.Run("ip", "addr", "add", "192.0.2.99/32", "dev", "eth0")
	want(t, "once it is there", n.Client.Who("tcp4", "192.0.2.99:8088"), "web")
	if e := listed(t, n)["192.0.2.99 8088/tcp"]; e.State != inventory.OK {
		t.Errorf("list says %s of a hostIP that is there", e.State)
	}
}

// container is one of docker's, at the address of the fixtures.
func container(t *testing.T, n *lab.Node) *lab.Netns {
	c := lab.NewNetns(t, "container")
	n.Run("sh", "-ec", `ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
		ip link add vethd type veth peer name eth0 netns `+c.Name+`; ip link set vethd master docker0 up`)
	c.Run("sh", "-ec", "ip addr add 172.17.0.2/16 dev eth0; ip link set eth0 up; ip route add default via 172.17.0.1")
	return c
}

// Answers that leave by another link are found, and the remedy brings them back: the way in
// front of the node takes no answers from there.
func TestAnswersByAnotherLink(t *testing.T) {
	t.Parallel()
	n, _ := serving(t, nil, lab.TCP(8080, 80))
	n.Run("sh", "-ec", `ip link add eth1 type veth peer name eth1 netns `+n.Client.Name+`
		sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth1.rp_filter=2 net.ipv4.conf.eth0.rp_filter=2
		ip addr add 198.51.100.1/24 dev eth1; ip link set eth1 up; ip route add default via `+lab.ClientV4+`
		ip route add default via 198.51.100.2 dev eth1 table 200; ip rule add from 198.51.100.0/24 lookup 200`)
	n.Client.Run("sh", "-ec", `ip addr add 198.51.100.2/24 dev eth1; ip link set eth1 up; ip addr add 12.34.5.6/32 dev lo
		ip route add 198.51.100.1/32 dev eth1 src 12.34.5.6; sysctl -qw net.ipv4.conf.all.rp_filter=1`)
	want(t, "the answer goes astray", n.Client.Who("tcp4", "198.51.100.1:8080"), "")
	found, _ := diagnosis(t, n)
	f := found[way.CheckAnswer]
	if f.Severity != doctor.Warning || !strings.Contains(f.Message, "come by eth1, and answers leave by eth0") {
		t.Fatalf("doctor says %+v", found)
	}
	if o := ask(t, n, "198.51.100.1:8080/tcp").Outside; !strings.Contains(o[len(o)-1].Detour+o[0].Detour, "eth0") || !strings.Contains(o[len(o)-1].Remedy+o[0].Remedy, "CONNMARK") {
		t.Errorf("explain says %+v", o)
	}
	_, remedy, _ := strings.Cut(f.Remedy, ": ")
	remedy, _, _ = strings.Cut(remedy, " TABLE")
	n.Run("sh", "-ec", remedy+" 200")
	want(t, "with the remedy", n.Client.Who("tcp4", "198.51.100.1:8080"), "web")
	if found, _ := diagnosis(t, n); found[way.CheckAnswer].Message != "" {
		t.Errorf("doctor says %+v", found)
	}
}
