// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
)

const capability = `"capabilities": {"portMappings": true}`

// conflists: a runtime takes the first file that it can load.
func conflists(f Facts) []Finding {
	if f.ConfErr != nil {
		return []Finding{{"conflist", Warning, fmt.Sprintf("%s cannot be read: %v", f.ConfDir, f.ConfErr), "name the directory of the conflists with --conf-dir"}}
	}
	if len(f.Lists) == 0 {
		return []Finding{{"conflist", Problem, "no network configuration in " + f.ConfDir, "install a conflist that names portguard; see conflist/ of the release"}}
	}
	var out []Finding
	named, first := false, ""
	for _, l := range f.Lists {
		if l.Err != nil {
			out = append(out, Finding{"conflist", Warning, fmt.Sprintf("%s cannot be loaded: %v", l.File, l.Err), "repair or remove the file"})
			continue
		}
		has := slices.Contains(l.Types, "portguard")
		if has && first != "" && !named {
			out = append(out, Finding{"conflist", Warning, fmt.Sprintf("%s names portguard, but runtimes take %s first", l.File, first),
				"name portguard in the first file, or remove that"})
		}
		first = cmp.Or(first, l.File)
		named = named || has
		if has {
			out = append(out, entry(l)...)
		}
	}
	if !named {
		out = append(out, Finding{"conflist", Problem, "no network configuration in " + f.ConfDir + " names portguard", `put {"type": "portguard", ` + capability + `} where portmap stands`})
	}
	return out
}

// entry looks at portguard's entry in a conflist.
func entry(l Conflist) []Finding {
	var out []Finding
	if !l.Capable {
		out = append(out, Finding{"capability", Problem, fmt.Sprintf("%s does not declare %s for portguard, so the runtime tells it no hostPorts", l.File, capability),
			"add " + capability + " to portguard's entry"})
	}
	if l.Invalid != nil {
		out = append(out, Finding{"conflist", Problem, fmt.Sprintf("%s: portguard refuses its configuration: %v", l.File, l.Invalid), "correct that key; docs/configuration.md lists all"})
	}
	if slices.Contains(l.Types, "portmap") {
		out = append(out, Finding{"implementers", Problem, fmt.Sprintf("%s names both portguard and portmap: both would map every hostPort", l.File), "remove portmap's entry"})
	}
	if slices.Index(l.Types, "portguard") == 0 {
		out = append(out, Finding{"conflist", Problem, l.File + " names portguard first; it needs the address that another plugin assigns", "put portguard behind the plugin that creates the interface"})
	}
	return out
}

func backend(f Facts) []Finding {
	if f.BackendErr != nil {
		return []Finding{{"backend", Problem, f.BackendErr.Error(), "every ADD fails until this is repaired"}}
	}
	return []Finding{{"backend", Info, fmt.Sprintf("mappings go into %s: %s", f.Backend, f.Why), ""}}
}

func flavours(f Facts) []Finding {
	var modes []string
	for _, fl := range f.Proxies.KubeProxy {
		modes = append(modes, "iptables-"+fl)
	}
	if f.Proxies.Native {
		modes = append(modes, "nftables")
	}
	if f.Proxies.IPVS {
		modes = append(modes, "ipvs")
	}
	msg := "iptables rules in: " + words(f.Proxies.Flavours) + "; kube-proxy in: " + words(modes)
	if f.Proxies.Hint != "" {
		msg += "; the kubelet's hint is iptables-" + f.Proxies.Hint
	}
	out := []Finding{{"flavours", Info, msg, ""}}
	if len(f.Proxies.KubeProxy) > 1 {
		sev := Warning
		if f.Backend != "nftables" {
			sev = Problem
		}
		out = append(out, Finding{"flavours", sev, "both iptables-legacy and iptables-nft hold kube-proxy rules, so there is no place behind both",
			"flush those of the flavour that kube-proxy no longer uses"})
	}
	return out
}

func words(w []string) string { return cmp.Or(strings.Join(w, ", "), "none") }

// implementers: two that map hostPorts do not know of each other.
func implementers(f Facts) []Finding {
	var out []Finding
	if f.Proxies.CRIO {
		out = append(out, Finding{"implementers", Problem, "CRI-O maps hostPorts by itself and tells CNI plugins of none, so portguard guards nothing for its pods", "use containerd where portguard is to map hostPorts; what CRI-O maps is respected"})
	}
	live := 0
	for _, e := range f.List.HostPorts {
		if e.By == "portmap" && e.State != inventory.Dead {
			live++
		}
	}
	if live > 0 {
		out = append(out, Finding{"implementers", Warning, fmt.Sprintf("%d mappings are portmap's: of pods that were started before portguard was named, or by another conflist", live),
			"they go when their pods are started anew; docs/migration.md"})
	}
	return out
}

func stateDir(f Facts) []Finding {
	if f.StateLoose != "" {
		return []Finding{{"state", Warning, "dataDir: " + f.StateLoose + ": anybody could block ADDs or make up owners", "chown root and chmod 0700 the directory"}}
	}
	if f.StateErr == nil {
		return nil
	}
	return []Finding{{"state", Problem, f.StateErr.Error(), "make the directory writable; every ADD of a pod with hostPorts fails until then"}}
}

func order(f Facts) []Finding {
	var out []Finding
	for _, m := range f.Misplaced {
		out = append(out, Finding{"order", Problem, m, "portguard restore"})
	}
	if f.Stranger != "" {
		out = append(out, Finding{"order", Problem, "table " + f.Stranger + " has nothing of portguard's in it, and its name is portguard's", "unless somebody needs it: nft delete table " + f.Stranger})
	}
	if f.Proxies.IPVS && slices.ContainsFunc(f.List.HostPorts, func(e inventory.Entry) bool { return e.By == "portguard" && e.Backend == "nftables" }) {
		out = append(out, Finding{"order", Problem, "kube-proxy is in ipvs mode, where every ClusterIP is a local address, and mappings are still in nftables: they take the traffic of Services with their ports",
			"portguard restore moves them to iptables"})
	}
	return out
}

func mappings(f Facts) []Finding {
	var out []Finding
	dead := map[string]int{}
	var owners []string
	for _, e := range f.List.HostPorts {
		switch e.State {
		case inventory.Shadowed:
			out = append(out, Finding{"shadowed", Problem, name(e) + ": " + e.Reason, "stop the other one, or choose another hostPort"})
		case inventory.Missing:
			out = append(out, Finding{"missing", Problem, name(e) + ": " + e.Reason, "portguard restore"})
		case inventory.Dead:
			o := owner(e)
			if dead[o] == 0 {
				owners = append(owners, o)
			}
			dead[o]++
		case inventory.OK:
		}
	}
	for _, o := range owners {
		out = append(out, Finding{"dead-owner", Warning, fmt.Sprintf("%s is gone and its mappings are not (%d): their packets are lost", o, dead[o]), "portguard gc"})
	}
	return out
}

func forwarding(f Facts) []Finding {
	var out []Finding
	for _, fam := range f.NoForwarding {
		used := slices.ContainsFunc(f.List.HostPorts, func(e inventory.Entry) bool { return familyOf(e) == fam })
		if !used && fam == hostport.IPv6 {
			continue // a node without IPv6 pods need not forward it
		}
		sysctl := map[hostport.Family]string{hostport.IPv4: "net.ipv4.ip_forward", hostport.IPv6: "net.ipv6.conf.all.forwarding"}[fam]
		out = append(out, Finding{"forwarding", Problem, fmt.Sprintf("%s is 0: nothing gets from outside to a pod over %s", sysctl, fam), "sysctl -w " + sysctl + "=1"})
	}
	return out
}

func dropped(f Facts) []Finding {
	var out []Finding
	for _, d := range f.Dropped {
		out = append(out, Finding{"forward-drop", Problem, fmt.Sprintf("hostPort %s (%s) of %s: its packets are dropped: %s", d.Mapping, d.Mapping.Family, d.Owner, d.Where),
			"accept what was translated before that rule: iptables -I FORWARD -m conntrack --ctstate DNAT -j ACCEPT, or ct status dnat accept"})
	}
	return out
}

// ephemeral: a client on the node may be given the port as its own.
func ephemeral(f Facts) []Finding {
	var out []Finding
	var seen []string // a port is there in two families
	for _, e := range f.List.HostPorts {
		who := fmt.Sprintf("hostPort %d/%s of %s", e.Port, e.Protocol, owner(e))
		reserved := slices.ContainsFunc(f.Reserved, func(r [2]uint16) bool { return r[0] <= e.Port && e.Port <= r[1] })
		if e.Port < f.EphemeralFrom || e.Port > f.EphemeralTo || reserved || slices.Contains(seen, who) {
			continue
		}
		seen = append(seen, who)
		out = append(out, Finding{"ephemeral", Warning,
			fmt.Sprintf("%s is inside ip_local_port_range (%d-%d): a program of the node may be given that port, and then the pod cannot start here again", who, f.EphemeralFrom, f.EphemeralTo),
			fmt.Sprintf("choose a port outside, or add %d to net.ipv4.ip_local_reserved_ports", e.Port)})
	}
	return out
}

func unread(f Facts) []Finding {
	var out []Finding
	for _, n := range f.List.Notes {
		out = append(out, Finding{"unreadable", Problem, n, "repair what it names: what cannot be read is not called free. A damaged record may be deleted; its rules are found without it"})
	}
	return out
}
