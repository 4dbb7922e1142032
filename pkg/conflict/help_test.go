// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

const (
	v4, v6        = hostport.IPv4, hostport.IPv6
	tcp, udp      = hostport.TCP, hostport.UDP
	nodeIP, other = "192.0.2.1", "192.0.2.2"
)

var me = hostport.Owner{Network: "n", ContainerID: "me", IfName: "eth0"}

func ours(chain string) bool { return strings.HasPrefix(chain, "PORTGUARD-") }

// mapTo maps port 80 of an address, "" for all, of the family.
func mapTo(f hostport.Family, ip string) hostport.Mapping {
	return mapPort(f, ip, tcp, 80)
}

func mapPort(f hostport.Family, ip string, p hostport.Proto, port uint16) hostport.Mapping {
	m := hostport.Mapping{Family: f, Proto: p, HostPort: port, ContainerPort: 8080}
	if ip != "" {
		m.HostIP = netip.MustParseAddr(ip)
	}
	return m
}

func attach(ms ...hostport.Mapping) hostport.Attachment {
	return hostport.Attachment{Owner: me, SNAT: true, Localhost: true, Mappings: ms}
}

// node is a node with two addresses a family and the usual others.
func node() Snapshot {
	s := Snapshot{EphemeralFrom: 32768, EphemeralTo: 60999}
	for _, l := range []struct{ prefix, infra string }{
		{"127.0.0.0/8", ""}, {nodeIP + "/32", ""}, {other + "/32", ""}, {"169.254.7.7/32", ""},
		{"10.96.0.10/32", "kube-ipvs0"}, {"169.254.20.10/32", "nodelocaldns"},
		{"::1/128", ""}, {"2001:db8::1/128", ""}, {"fe80::1/128", ""},
	} {
		s.Local = append(s.Local, hostport.Local{Prefix: netip.MustParsePrefix(l.prefix), Infrastructure: l.infra})
	}
	s.Broadcasts = []netip.Addr{netip.MustParseAddr("192.0.2.255")}
	return s
}

func listens(p hostport.Proto, ip string, port uint16) hostport.Listener {
	return hostport.Listener{Proto: p, Addr: netip.MustParseAddr(ip), Port: port, Holder: hostport.Process{PID: 7, Comm: "nginx"}}
}

func (s Snapshot) with(ls ...hostport.Listener) Snapshot {
	s.Listeners = append(s.Listeners[:len(s.Listeners):len(s.Listeners)], ls...)
	return s
}

func (s Snapshot) claimed(id string, dead bool, m hostport.Mapping) Snapshot {
	o := hostport.Owner{Network: "n", ContainerID: id, IfName: "eth0"}
	c := hostport.Claim{Owner: o, Key: o.Key(), Mapping: m, Dead: dead}
	s.Claims = append(s.Claims[:len(s.Claims):len(s.Claims)], c)
	return s
}

// rules adds a flavour with table nat of the given rules, as "CHAIN rule".
func (s Snapshot) rules(t testing.TB, f hostport.Family, target bool, rules ...string) Snapshot {
	t.Helper()
	return s.dump(t, f, target, "*nat\n"+table(rules)+"COMMIT\n")
}

func table(rules []string) string {
	text, tail := "", ""
	seen := map[string]bool{}
	for _, r := range append([]string{"PREROUTING", "OUTPUT"}, rules...) {
		c, _, isRule := strings.Cut(r, " ")
		if !seen[c] {
			policy := "-"
			if c == "PREROUTING" || c == "OUTPUT" || c == "INPUT" || c == "FORWARD" {
				policy = "ACCEPT"
			}
			seen[c] = true
			text += fmt.Sprintf(":%s %s [0:0]\n", c, policy)
		}
		if isRule {
			tail += "-A " + r + "\n"
		}
	}
	return text + tail
}

func (s Snapshot) dump(t testing.TB, f hostport.Family, target bool, text string) Snapshot {
	t.Helper()
	d, err := iptsave.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	s.Rules = append(s.Rules[:len(s.Rules):len(s.Rules)], Rules{Flavour: "nft", Family: f, Dump: d, Target: target})
	return s
}

func kubeProxy(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../iptsave/testdata/proxy-iptables-nft.iptables-nft-save")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// say writes a report as "refuse 100; warn 107; carve 127.0.0.1:80/tcp; take over 1".
func say(r Report) string {
	var out []string
	for _, f := range r.Conflicts {
		out = append(out, fmt.Sprintf("refuse %d", f.Kind))
	}
	for _, f := range r.Warnings {
		out = append(out, fmt.Sprintf("warn %d", f.Kind))
	}
	for _, c := range r.Carves {
		out = append(out, fmt.Sprintf("carve %s/%s", netip.AddrPortFrom(c.Addr, c.Port), c.Proto))
	}
	if len(r.TakeOver) > 0 {
		out = append(out, fmt.Sprintf("take over %d", len(r.TakeOver)))
	}
	return strings.Join(out, "; ")
}
