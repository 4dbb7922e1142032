// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

const (
	v4, v6        = hostport.IPv4, hostport.IPv6
	tcp, udp      = hostport.TCP, hostport.UDP
	nodeIP, other = "192.0.2.1", "192.0.2.2"
)

var me = hostport.Owner{Network: "n", ContainerID: "me", IfName: "eth0"}

func ours(_ nft.Table, chain string) bool { return strings.HasPrefix(chain, "PORTGUARD-") }

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
	s := Snapshot{EphemeralFrom: 32768, EphemeralTo: 60999, Owns: ours}
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

// kernels is a socket without a process.
func kernels(p hostport.Proto, ip string, port uint16, link string) hostport.Listener {
	l := listens(p, ip, port)
	l.Holder = hostport.Process{Link: link}
	return l
}

func reserved(s Snapshot, port uint16) Snapshot {
	s.Reserved = [][2]uint16{{port, port}}
	return s
}

func (s Snapshot) with(ls ...hostport.Listener) Snapshot {
	s.Listeners = append(s.Listeners[:len(s.Listeners):len(s.Listeners)], ls...)
	return s
}

func (s Snapshot) claimed(id string, dead bool, m hostport.Mapping) Snapshot {
	return s.claimedBy(hostport.Owner{Network: "n", ContainerID: id, IfName: "eth0"}, dead, m)
}

func (s Snapshot) claimedBy(o hostport.Owner, dead bool, m hostport.Mapping) Snapshot {
	c := hostport.Claim{Owner: o, Key: o.Key(), Mapping: m}
	if o.ContainerID == "" {
		c.Key = ""
	}
	if dead {
		c.Life = hostport.Dead
	}
	s.Claims = append(s.Claims[:len(s.Claims):len(s.Claims)], c)
	return s
}

// claim adds a claim to the port of most cases.
func (s Snapshot) claim(c hostport.Claim) Snapshot {
	c.Key, c.Mapping = c.Owner.Key(), mapTo(v4, "")
	s.Claims = append(s.Claims[:len(s.Claims):len(s.Claims)], c)
	return s
}

// rules adds rules of iptables-nft in table nat, as "CHAIN rule". The mapping would
// stand there too, or in iptables-legacy.
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
			if c == "PREROUTING" || c == "OUTPUT" || c == "INPUT" || c == "FORWARD" || c == "POSTROUTING" {
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
	src, err := xtrule.Parse(text, f)
	if err != nil {
		t.Fatal(err)
	}
	s.Rulesets = append(s.Rulesets[:len(s.Rulesets):len(s.Rulesets)], Ruleset{Holder: Nftables, Chains: src.BaseChains(), Onward: src.OnwardChains(), Source: src})
	s.Place.Flavour = map[bool]string{true: "nft", false: "legacy"}[target]
	s.Print = printer(t, f, text, s.Print)
	return s
}

// printer prints the rules of a text of iptables-save, where a handle is a rule's number.
func printer(t testing.TB, f hostport.Family, text string, others func(Rule) string) func(Rule) string {
	d, err := iptsave.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return func(r Rule) string {
		table, _ := d.Table(r.Table)
		c := table.Chain(r.Chain)
		switch {
		case r.Family == f && c != nil:
			return c.Rules[r.Handle-1].Text
		case others != nil:
			return others(r)
		}
		return ""
	}
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
