// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/state"
)

// situations are by the names of the blocks they try; a subtest of one name.
func situations() map[string]func(*situation) {
	return map[string]func(*situation){
		"invisible":  (*situation).invisible,
		"hidden":     (*situation).hidden,
		"clusterip":  (*situation).clusterIP,
		"nodeport":   (*situation).nodePort,
		"hostnet":    (*situation).hostNetwork,
		"flush":      (*situation).flush,
		"capability": (*situation).capability,
		"forward":    (*situation).forward,
		"order":      (*situation).order,
		"leaked":     (*situation).leaked,
		"flavours":   (*situation).flavours,
		"udp":        (*situation).udp,
		"codes":      (*situation).codes,
		"rpfilter":   (*situation).reversePath,
		"unheard":    (*situation).unheard,
		"podlink":    (*situation).podLink,
	}
}

// Every output that docs/troubleshooting.md shows is what the commands say.
func TestTroubleshooting(t *testing.T) {
	used, ran := map[string]bool{}, 0
	for name, f := range situations() {
		t.Run(name, func(t *testing.T) {
			ran++
			f(newSituation(t, used))
		})
	}
	if ran < len(situations()) {
		return // only some were asked for
	}
	b, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`<!-- (?:try|says): (\S+) -->`).FindAllStringSubmatch(string(b), -1) {
		if !used[m[1]] {
			t.Errorf("nobody tries the block %q of %s", m[1], troubleshooting)
		}
	}
}

func (s *situation) invisible() {
	s.pod("web", lab.TCP(8080, 80))
	s.try("invisible")
	s.try("debug")
	s.try("raw-nft")
	s.agree(nil)

	s.n.Client.ServeTCP("tcp4", ":7777", "remote")
	var c net.Conn
	s.n.Do(func() {
		from := &net.TCPAddr{IP: net.ParseIP(lab.NodeV4), Port: 35300}
		c, _ = (&net.Dialer{LocalAddr: from}).Dial("tcp4", lab.ClientV4+":7777")
	})
	if c == nil {
		s.t.Fatal("no connection")
	}
	defer c.Close()
	_, _ = io.Copy(io.Discard, c) // until the other side has closed
	s.try("source-port")
	s.called("rsyslogd")
	s.n.ServeUDP("udp4", "0.0.0.0:514", "host")
	s.try("protocols")
}

func (s *situation) hidden() {
	s.called("mysqld")
	s.n.ServeTCP("tcp4", "0.0.0.0:3306", "mysqld")
	s.conflist(lab.Conf{"type": "portmap"})
	shop := s.pod("shop", lab.TCP(3306, 3306))
	shop.Serve(3306, "shop")
	want(s.t, "who has the port", s.n.Client.Who("tcp4", lab.NodeV4+":3306"), "shop")
	s.try("hidden")
	s.agree(map[string]string{"portmap for": "shop", "mysqld": "mysqld"})
	if err := s.n.Del(shop, s.list, lab.TCP(3306, 3306)); err != nil {
		s.t.Fatal(err)
	}
	s.conflist(nil)
	s.pod("shop", lab.TCP(3306, 80))
	s.says("hidden-refused")
}

func (s *situation) clusterIP() {
	s.ipvs()
	s.conflist(lab.Conf{"type": "portmap", "backend": "nftables"})
	ports := []lab.Port{lab.TCP(3306, 3306), lab.TCP(8090, 80)}
	db := s.pod("db", ports...)
	db.Serve(3306, "db")
	want(s.t, "the ClusterIP with portmap", s.n.Client.Who("tcp4", "10.96.0.20:3306"), "db")
	s.try("clusterip")
	s.agree(map[string]string{"portmap for": "db", "mysql-service": "service"})
	if err := s.n.Del(db, s.list, ports...); err != nil {
		s.t.Fatal(err)
	}
	s.conflist(nil)
	db = s.pod("db", ports...)
	db.Serve(3306, "db")
	want(s.t, "the ClusterIP", s.n.Client.Who("tcp4", "10.96.0.20:3306"), "service")
	want(s.t, "a port that no Service has", s.n.Client.Who("tcp4", "10.96.0.20:8090"), "")
	want(s.t, "the hostPort", s.n.Client.Who("tcp4", lab.NodeV4+":3306"), "db")
	s.try("clusterip-spared")
	s.agree(nil)
}

func (s *situation) nodePort() {
	web := s.pod("web", lab.TCP(30080, 80))
	want(s.t, "before the Service", s.n.Client.Who("tcp4", lab.NodeV4+":30080"), "web")
	s.kubeProxy()
	want(s.t, "after it", s.n.Client.Who("tcp4", lab.NodeV4+":30080"), "")
	s.try("nodeport")
	s.agree(map[string]string{"Service": ""})
	if err := s.n.Del(web, s.list); err != nil {
		s.t.Fatal(err)
	}
	s.pod("web", lab.TCP(30080, 80))
	s.says("nodeport-refused")
}

func (s *situation) hostNetwork() {
	s.called("node_exporter")
	l := s.n.ServeTCP("tcp", "[::]:9100", "exporter")
	s.pod("app", lab.TCP(9100, 80))
	s.says("hostnet-refused")
	l.Close()
	s.conflist(lab.Conf{"reserve": "off"})
	s.pod("app", lab.TCP(9100, 80))
	s.n.ServeTCP("tcp", "[::]:9100", "exporter")
	s.try("hostnet")
	s.agree(map[string]string{"node_exporter": "exporter"})
	want(s.t, "who has the port", s.n.Client.Who("tcp4", lab.NodeV4+":9100"), "app")
	want(s.t, "::1", s.n.Who("tcp6", "[::1]:9100"), "exporter")
}

func (s *situation) flush() {
	s.pod("web", lab.TCP(8080, 80))
	s.try("flush")
	want(s.t, "restored", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
	s.n.Iptables("", "-t nat -F")
	s.agree(nil)
	s.n.Run("nft", "flush", "ruleset")
	s.agree(nil)
	s.n.Run("portguard", "restore")
	want(s.t, "after iptables -F", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
}

func (s *situation) capability() {
	s.conflist(lab.Conf{"capabilities": map[string]bool{}})
	s.pod("web", lab.TCP(8080, 80))
	s.try("capability")
	if all := hostPorts(s.t, s.n); len(all) > 0 {
		s.t.Errorf("no hostPort was asked for, and list says %+v", all)
	}
	s.closed("8080/tcp")
}

func (s *situation) forward() {
	s.pod("web", lab.TCP(8080, 80))
	s.n.Iptables("", "-P FORWARD DROP")
	want(s.t, "from outside", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
	s.try("forward")
	s.agree(nil)
	s.n.Iptables("", "-I FORWARD -m conntrack --ctstate DNAT -j ACCEPT")
	want(s.t, "after the remedy", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
}

func (s *situation) unheard() {
	web := s.n.NewPod("web")
	s.n.MustAdd(web, s.list, lab.TCP(8080, 80))
	web.ServeTCP("tcp4", "127.0.0.1:80", "web")
	want(s.t, "from outside", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
	s.try("unheard")
	s.agree(nil)
	web.ServeTCP("tcp4", web.V4+":80", "web")
	want(s.t, "after the remedy", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
}

func (s *situation) podLink() {
	s.pod("web", lab.TCP(8080, 80))
	veth, _, _ := strings.Cut(s.n.Run("ip", "-br", "link", "show", "master", "cni0"), "@")
	s.n.Run("ip", "link", "set", veth, "nomaster")
	want(s.t, "from outside", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
	s.try("podlink")
	s.agree(nil)
	s.n.Run("ip", "link", "set", veth, "master", "cni0")
	s.n.Run("bridge", "link", "set", "dev", veth, "hairpin", "on")
	// The bridge learns late of a link that is up (LW_DELAY).
	until(s.t, "the remedy works", func() bool { return s.n.Client.Who("tcp4", lab.NodeV4+":8080") == "web" })
	s.agree(nil)
}

func (s *situation) reversePath() {
	s.pod("web", lab.TCP(8080, 80))
	s.n.Run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", s.n.Client.Name)
	s.n.Run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth1.rp_filter=0")
	s.n.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "eth1")
	s.n.Run("ip", "link", "set", "eth1", "up")
	s.n.Client.Run("ip", "addr", "add", "198.51.100.2/24", "dev", "eth1")
	s.n.Client.Run("ip", "link", "set", "eth1", "up")
	s.n.Client.Run("ip", "route", "add", lab.NodeV4, "via", "198.51.100.1", "src", lab.ClientV4)
	s.n.Run("sh", "-c", "until ip -o link show eth1 | grep -q 'state UP'; do sleep 0.01; done") // it drops packets before
	want(s.t, "over the other link", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
	s.n.Run("sysctl", "-qw", "net.ipv4.conf.eth1.rp_filter=1")
	want(s.t, "with rp_filter=1", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "")
	s.try("rpfilter")
	s.n.Run("sysctl", "-qw", "net.ipv4.conf.eth1.rp_filter=2")
	want(s.t, "with rp_filter=2", s.n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
	s.agree(nil)
}

func (s *situation) order() {
	s.conflist(lab.Conf{"backend": "iptables"})
	s.pod("web", lab.TCP(8080, 80))
	s.try("raw-iptables")
	s.n.KubeProxy("10.88.0.200:80")
	jump := " PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment portguard -j PORTGUARD-INCOMING"
	s.n.Iptables("", "-t nat -D"+jump)
	s.n.Iptables("", "-t nat -I"+jump)
	s.try("order")
	s.agree(nil)
}

// dead starts a pod that is deleted without a DEL. It has no servers: they would keep its
// network namespace alive.
func (s *situation) dead(name string, ports ...lab.Port) {
	s.t.Helper()
	p := s.n.NewPod(name)
	s.hear(s.n.MustAdd(p, s.list, ports...), nil)
	p.Delete()
}

func (s *situation) leaked() {
	leak := func() {
		s.conflist(lab.Conf{"type": "portmap"})
		s.dead("old", lab.TCP(8080, 80))
		s.conflist(nil)
	}
	leak()
	s.try("leaked")
	s.closed("8080/tcp")
	leak()
	s.agree(nil)
}

func (s *situation) flavours() {
	for _, fl := range []string{"nft", "legacy"} {
		s.n.Run("iptables-"+fl, "-t", "nat", "-N", "KUBE-SERVICES")
		s.n.Run("iptables-"+fl, "-t", "nat", "-A", "PREROUTING", "-j", "KUBE-SERVICES")
	}
	s.conflist(lab.Conf{"backend": "iptables"})
	s.try("flavours")
	s.pod("web", lab.TCP(8080, 80))
	s.agree(nil)
}

func (s *situation) udp() {
	old := s.pod("dns1", lab.UDP(53, 80))
	c := s.n.Client.OpenFrom("udp4", ":40404", lab.NodeV4+":53")
	want(s.t, "the flow", lab.Ask(c), "dns1 "+lab.ClientV4)
	if err := s.n.Del(old, s.list, lab.UDP(53, 80)); err != nil {
		s.t.Fatal(err)
	}
	s.pod("dns2", lab.UDP(53, 80))
	want(s.t, "the same flow", lab.Ask(c), "dns2 "+lab.ClientV4)
	s.try("udp")
	s.agree(nil)
}

// codes has everybody say what the table of messages shows.
func (s *situation) codes() {
	conf := lab.Conf{"backend": "iptables", "lockTimeout": "1s", "protectedPorts": []string{"22/tcp"}}
	s.conflist(conf)
	s.kubeProxy()
	web := s.pod("web", lab.TCP(8080, 80))
	s.dead("balanced", lab.TCP(80, 80)) // its port is free
	s.called("ntpd")
	s.n.ServeUDP("udp4", "0.0.0.0:40000", "client")
	s.pod("ephemeral", lab.UDP(40000, 80))
	s.called("nginx")
	s.n.ServeTCP("tcp4", "0.0.0.0:80", "nginx")
	s.rules()
	s.conflist(conf)
	for _, port := range []int{22, 80, 8080, 30080, 30082, 8081, 8082, 9000, 7000, 7001, 7100, 7200, 7300, 7400} {
		s.pod("refused", lab.TCP(port, 80))
	}
	s.pod("sctp", lab.Port{HostPort: 7000, ContainerPort: 80, Protocol: "sctp"})
	s.pod("web", lab.TCP(8080, 80)) // of the same name
	s.agree(map[string]string{"portmap for": "old", "Service": ""})
	s.failures(web)
	program := s.n.Steer("dispatch", 8083, 0)
	s.pod("refused", lab.TCP(8083, 80))
	program.Close()
	rows := regexp.MustCompile("(?m)^\\| (\\d+) \\| `(.+?)` \\|").FindAllStringSubmatch(s.page(), -1)
	if len(rows) < 12 {
		s.t.Errorf("the table of messages has %d rows", len(rows))
	}
	for _, r := range rows {
		if !s.told.has(r[1], r[2]) {
			s.t.Errorf("code %s: nobody said\n  %s\nbut\n  %v", r[1], r[2], s.told)
		}
	}
}

// rules are those of others that the table of messages speaks of.
func (s *situation) rules() {
	s.conflist(lab.Conf{"type": "portmap"})
	s.pod("old", lab.TCP(8082, 80))
	for _, rule := range []string{
		"-N DOCKER", "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
		"-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80",
		"-A PREROUTING -p tcp -m tcp --dport 9000 -j REDIRECT --to-ports 22",
		"-A PREROUTING -p tcp -m tcp --dport 7000 -m mark --mark 0x1 -j DNAT --to-destination 10.9.9.9:1",
		"-A PREROUTING -p tcp -m tcp --dport 7001 -m mark --mark 0x5 -j DNAT --to-destination 10.9.9.9:1",
		"-A PREROUTING -i eth0 -p sctp -m mark --mark 0x2 -j DNAT --to-destination 10.9.9.9",
		"-I PREROUTING -p tcp -m tcp --dport 7100 -j ACCEPT",
	} {
		s.n.Iptables("", "-t nat "+rule)
	}
	s.n.Run("nft", "add table inet own; add chain inet own before { type filter hook prerouting priority -150; }; "+
		"add chain inet own behind { type filter hook prerouting priority 0; }; "+
		"add rule inet own behind meta l4proto tcp ct original proto-dst 7300 drop; add rule inet own before meta l4proto tcp ct direction reply ct original proto-dst 7400 drop")
	s.n.Run("ipset", "create", "marks", "hash:ip", "skbinfo")
	s.n.Iptables("", "-t mangle -A PREROUTING -p tcp -m tcp --dport 7001 -j SET --map-set marks dst --map-mark")
	s.n.Run("ip", "rule", "add", "pref", "100", "lookup", "local")
	s.n.Run("ip", "rule", "del", "pref", "0")
	s.n.Run("ip", "route", "add", "blackhole", "default", "table", "77")
	s.n.Run("ip", "rule", "add", "pref", "50", "ipproto", "tcp", "dport", "7200", "lookup", "77")
}

// failures are those that are not about one port.
func (s *situation) failures(web *lab.Pod) {
	s.n.Iptables("", "-t nat -F PORTGUARD-HOSTPORTS")
	s.hear("", s.n.Check(web, s.list, lab.TCP(8080, 80)))
	s.n.Shadow("iptables-nft-restore", "echo 'iptables-restore: line 5 failed' >&2; exit 1")
	s.pod("unapplied", lab.TCP(8090, 80))
	s.n.Unshadow("iptables-nft-restore")
	unlock, err := state.Open(s.n.Dir + "/state").Lock(time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	s.pod("locked", lab.TCP(8090, 80))
	unlock()
	s.n.Run("nft", "add set ip nat own { type inet_service; }")
	s.pod("unread", lab.TCP(8090, 80))
	s.n.Run("nft", "delete set ip nat own")
	s.n.Iptables("", "-t nat -F")
	s.n.Iptables("6", "-t nat -F")
	s.pod("flushed", lab.TCP(8080, 80))
}
