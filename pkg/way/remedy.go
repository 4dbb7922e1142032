// SPDX-License-Identifier: Apache-2.0

package way

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// A tool is a program that makes filters.
type tool struct {
	name string
	// tables and chains are what its rules are in; a chain of theirs begins with one of these.
	tables, chains []string
	// onward opens the way to a pod, inward that to a socket of the node; "" where it has no
	// command for that.
	onward, inward func(t *trip, s *conflict.Stop) string
}

// tools are those that are known. The first that has a hand in a chain is the one to ask:
// docker shares its chains with others, and others keep theirs for themselves.
func tools() []tool {
	return []tool{
		{"firewalld in panic mode", []string{"firewalld_policy_drop"}, nil, panicOff, panicOff},
		{"firewalld", nil, []string{"filter_FORWARD_dnat", "filter_INPUT_dnat", "filter_OUTPUT_dnat", "FORWARD_dnat", "INPUT_dnat", "OUTPUT_dnat"}, strictOff, strictOff},
		{"firewalld", []string{"firewalld"}, []string{"FORWARD_direct", "INPUT_direct", "FWD", "FWDI_", "FWDO_", "IN_"}, firewalldOnward, firewalldInward},
		{"ufw", nil, []string{"ufw-", "ufw6-"}, ufwOnward, ufwInward},
		{"kube-router's network policies", nil, []string{"KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-"}, policies, policies},
		{"calico's policies", nil, []string{"cali-", "cali:"}, policies, policies},
		{"libvirt", []string{"libvirt_network"}, []string{"LIBVIRT_"}, libvirt, libvirt},
		{"docker", []string{"docker-bridges"}, []string{"DOCKER-USER", "DOCKER"}, docker, nil},
	}
}

// opening is the remedy for what a rule or a policy stops.
func opening(t *trip, s *conflict.Stop) string {
	for _, tool := range tools() {
		if !tool.has(s) {
			continue
		}
		open := tool.onward
		if t.p.Hook == walk.Input {
			open = tool.inward
		}
		if open != nil {
			return "it is " + tool.name + "'s: " + open(t, s)
		}
	}
	if s.Policy && (s.Legacy || conflict.OfIptables(s.Table)) && s.Table.Name != "filter" {
		// Nobody else has such policies (set_policy_rules of firewalld's ipXtables.py).
		return fmt.Sprintf("%s if firewalld is in panic mode, else %s -t %s -P %s ACCEPT", panicOff(t, s), iptables(t, s), s.Table.Name, s.Chain)
	}
	switch {
	case t.p.Hook == walk.Forward || t.p.Hook == walk.Postrouting:
		return "accept what was translated before that: " + accepting(t, s)
	case s.Policy && t.p.Moved:
		return "accept what was translated: " + accepting(t, s)
	case s.Policy:
		return "accept what is for the port: " + acceptingPort(t, s)
	case s.Removal == "":
		return "remove that rule or restrict it"
	}
	return "remove that rule or restrict it: " + s.Removal
}

// has reports whether a tool made the rule or, if it is a policy, some of the chain.
func (x tool) has(s *conflict.Stop) bool {
	return slices.Contains(x.tables, s.Table.Name) || slices.ContainsFunc(s.Chains, func(chain string) bool {
		return slices.ContainsFunc(x.chains, func(prefix string) bool { return strings.HasPrefix(chain, prefix) })
	})
}

// accepting is the command that lets all pass that was translated, and its answers, which
// ctstate DNAT means too (net/netfilter/xt_conntrack.c).
func accepting(t *trip, s *conflict.Stop) string {
	if conflict.OfIptables(s.Table) || s.Legacy {
		tool, table := iptables(t, s), ""
		if s.Table.Name != "filter" {
			table = " -t " + s.Table.Name
		}
		return fmt.Sprintf("%s%s -I %s -m conntrack --ctstate DNAT -j ACCEPT", tool, table, s.Chain)
	}
	return fmt.Sprintf("nft insert rule %s %s ct status dnat accept", s.Table, s.Chain)
}

// acceptingPort is the command that lets pass what asks for the port.
func acceptingPort(t *trip, s *conflict.Stop) string {
	if conflict.OfIptables(s.Table) || s.Legacy {
		return fmt.Sprintf("%s -I %s -p %s --dport %d -j ACCEPT", iptables(t, s), s.Chain, t.q.Proto, t.q.To.Port())
	}
	return fmt.Sprintf("nft insert rule %s %s %s dport %d accept", s.Table, s.Chain, t.q.Proto, t.q.To.Port())
}

// iptables is the tool of the family and of the flavour that has the chain: plain iptables may
// be the other one.
func iptables(t *trip, s *conflict.Stop) string {
	family := map[hostport.Family]string{hostport.IPv4: "iptables", hostport.IPv6: "ip6tables"}[hostport.FamilyOf(t.w.To)]
	return family + map[bool]string{true: "-legacy", false: "-nft"}[s.Legacy]
}

func panicOff(*trip, *conflict.Stop) string { return "firewall-cmd --panic-off" }

// strictOff: of what was translated firewalld lets through what its own forward-ports are, and no
// policy is asked.
func strictOff(*trip, *conflict.Stop) string {
	return "set StrictForwardPorts=no in /etc/firewalld/firewalld.conf, then firewall-cmd --reload"
}

// firewalldOnward: what goes from one zone to another needs a policy.
func firewalldOnward(t *trip, _ *conflict.Stop) string {
	commands := []string{"--zone=trusted --add-interface=" + t.podLink(), "--new-policy=hostports",
		"--policy=hostports --add-ingress-zone=ANY", "--policy=hostports --add-egress-zone=trusted", "--policy=hostports --set-target=ACCEPT"}
	return "firewall-cmd --permanent " + strings.Join(commands, "; firewall-cmd --permanent ") + "; firewall-cmd --reload"
}

func firewalldInward(t *trip, _ *conflict.Stop) string {
	return fmt.Sprintf("firewall-cmd --permanent --add-port=%d/%s; firewall-cmd --reload", t.q.To.Port(), t.q.Proto)
}

func ufwOnward(t *trip, _ *conflict.Stop) string {
	return fmt.Sprintf("ufw route allow in on %s out on %s to any port %d proto %s", t.in.Name, t.podLink(), t.w.Taker.Target.Port(), t.q.Proto)
}

func ufwInward(t *trip, _ *conflict.Stop) string {
	return fmt.Sprintf("ufw allow %d/%s", t.q.To.Port(), t.q.Proto)
}

func policies(*trip, *conflict.Stop) string {
	return "allow it in a NetworkPolicy that selects the pod: kubectl get networkpolicy -A"
}

func libvirt(t *trip, _ *conflict.Stop) string {
	return fmt.Sprintf("its networks take no connections from outside; virsh net-edit the one of %s, and make it <forward mode='open'/>", t.podLink())
}

func docker(t *trip, s *conflict.Stop) string {
	return iptables(t, s) + " -I DOCKER-USER -m conntrack --ctstate DNAT -j ACCEPT"
}

// podLink is the link to the pod, whichever way the packets go.
func (t *trip) podLink() string {
	if t.p.Answer {
		return t.p.In.Name
	}
	return t.p.Out.Name
}
