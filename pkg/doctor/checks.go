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
func conflists(f Facts, add adder) {
	if f.ConfErr != nil {
		add("conflist", Warning, fmt.Sprintf("%s cannot be read: %v", f.ConfDir, f.ConfErr), "name the directory of the conflists with --conf-dir")
		return
	}
	if len(f.Lists) == 0 {
		add("conflist", Problem, "no network configuration in "+f.ConfDir, "install a conflist that names portguard; see conflist/ of the release")
		return
	}
	named, first := false, ""
	for _, l := range f.Lists {
		if l.Err != nil {
			add("conflist", Warning, fmt.Sprintf("%s cannot be loaded: %v", l.File, l.Err), "repair or remove the file")
			continue
		}
		has := slices.Contains(l.Types, "portguard")
		if has && first != "" && !named {
			add("conflist", Warning, fmt.Sprintf("%s names portguard, but runtimes take %s first", l.File, first),
				"name portguard in the first file, or remove that")
		}
		first = cmp.Or(first, l.File)
		named = named || has
		if has {
			entry(l, add)
		}
	}
	if !named {
		add("conflist", Problem, "no network configuration in "+f.ConfDir+" names portguard", `put {"type": "portguard", `+capability+`} where portmap stands`)
	}
}

// entry looks at portguard's entry in a conflist.
func entry(l Conflist, add adder) {
	if !l.Capable {
		add("capability", Problem, fmt.Sprintf("%s does not declare %s for portguard, so the runtime tells it no hostPorts", l.File, capability),
			"add "+capability+" to portguard's entry")
	}
	if l.Invalid != nil {
		add("conflist", Problem, fmt.Sprintf("%s: portguard refuses its configuration: %v", l.File, l.Invalid), "correct that key; docs/configuration.md lists all")
	}
	for _, key := range l.Unknown {
		add("conflist", Warning, fmt.Sprintf("%s: portguard does not know the key %q and ignores it", l.File, key), "correct or remove that key; docs/configuration.md lists all")
	}
	if slices.Contains(l.Types, "portmap") {
		add("implementers", Problem, fmt.Sprintf("%s names both portguard and portmap: both would map every hostPort", l.File), "remove portmap's entry")
	}
	if slices.Index(l.Types, "portguard") == 0 {
		add("conflist", Problem, l.File+" names portguard first; it needs the address that another plugin assigns", "put portguard behind the plugin that creates the interface")
	}
}

func backend(f Facts, add adder) {
	if f.BackendErr != nil {
		add("backend", Problem, f.BackendErr.Error(), "until this is repaired, no pod with hostPorts starts")
		return
	}
	add("backend", Info, fmt.Sprintf("mappings go into %s: %s", f.Backend, f.Why), "")
}

func flavours(f Facts, add adder) {
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
	add("flavours", Info, msg, "")
	if len(f.Proxies.KubeProxy) > 1 {
		sev := Warning
		if f.Backend != "nftables" {
			sev = Problem
		}
		add("flavours", sev, "both iptables-legacy and iptables-nft hold kube-proxy rules, so there is no place behind both",
			"flush those of the flavour that kube-proxy no longer uses")
	}
}

func words(w []string) string { return cmp.Or(strings.Join(w, ", "), "none") }

// implementers: two that map hostPorts do not know of each other.
func implementers(f Facts, add adder) {
	if f.Proxies.CRIO {
		add("implementers", Problem, "CRI-O maps hostPorts by itself and tells CNI plugins of none, so portguard guards nothing for its pods", "use containerd where portguard is to map hostPorts; what CRI-O maps is respected")
	}
	live := 0
	for _, e := range f.List.HostPorts {
		if e.By == "portmap" && e.State != inventory.Dead {
			live++
		}
	}
	if live > 0 {
		add("implementers", Warning, fmt.Sprintf("%d mappings are portmap's: of pods that were started before portguard was named, or by another conflist", live),
			"they go when their pods are started anew; docs/migration.md")
	}
}

func stateDir(f Facts, add adder) {
	if f.StateLoose != "" {
		add("state", Warning, "dataDir: "+f.StateLoose+": anybody could block ADDs or make up owners", "chown root and chmod 0700 the directory")
	}
	if f.StateDisk != "" {
		add("state", Warning, fmt.Sprintf("dataDir is on a disk (%s): every ADD and DEL waits for it while the others wait for the lock, and records outlive a reboot", f.StateDisk),
			"choose a directory in memory, as the default /run/cni/portguard is on most nodes; drain the node first, for the records of running pods do not move")
	}
	if f.StateErr != nil {
		add("state", Problem, f.StateErr.Error(), "make the directory writable; every ADD of a pod with hostPorts fails until then")
	}
}

func order(f Facts, add adder) {
	for _, m := range f.Misplaced {
		add("order", Problem, m, "portguard restore")
	}
	if f.Stranger != "" {
		add("order", Problem, "table "+f.Stranger+" has nothing of portguard's in it, and its name is portguard's", "unless somebody needs it: nft delete table "+f.Stranger)
	}
	if f.Proxies.IPVS && slices.ContainsFunc(f.List.HostPorts, func(e inventory.Entry) bool {
		return e.By == "portguard" && e.Backend == "nftables" && e.State != inventory.Waiting
	}) {
		add("order", Problem, "kube-proxy is in ipvs mode, where every ClusterIP is a local address, and mappings are still in nftables: they take the traffic of Services with their ports",
			"portguard restore moves them to iptables")
	}
}

func mappings(f Facts, add adder) {
	dead, unknown := map[string]int{}, map[string]bool{}
	var owners []string
	for _, e := range f.List.HostPorts {
		switch e.State {
		case inventory.Shadowed:
			add("shadowed", Problem, name(e)+": "+e.Reason, cmp.Or(e.Remedy, "stop the other one, or choose another hostPort"))
		case inventory.Missing:
			add("missing", Problem, name(e)+": "+e.Reason, "portguard restore")
		case inventory.Dead:
			o := owner(e)
			if dead[o] == 0 {
				owners = append(owners, o)
			}
			dead[o]++
		case inventory.Unknown:
			if o := owner(e); !unknown[o] { // once for all its mappings
				unknown[o] = true
				add("unknown-owner", Warning, o+": "+e.Reason, "run doctor as root in the PID and mount namespaces of the container runtime, with a /proc that hides no processes: nsenter -t 1 -m -p, or a debug pod with hostPID")
			}
		case inventory.Absent:
			add("address", Warning, name(e)+" is waiting for its address: "+e.Reason, "give the node that address, or the pod another hostIP")
		case inventory.OK, inventory.Waiting, inventory.Closed: // ways says what closes them
		}
	}
	for _, o := range owners {
		add("dead-owner", Warning, fmt.Sprintf("%s is gone and its mappings are not (%d): their packets are lost", o, dead[o]), "portguard gc")
	}
}

// protected: a pod that lives keeps its port; it is its next ADD that is refused.
func protected(f Facts, add adder) {
	for _, e := range f.List.HostPorts {
		m := hostport.Mapping{Proto: e.Protocol, HostPort: e.Port}
		i := slices.IndexFunc(f.Protected, func(p hostport.Ports) bool { return p.Has(m) })
		if i < 0 || e.Network != f.Network {
			continue
		}
		add("protected", Warning, fmt.Sprintf("hostPort %s of %s is protected by protectedPorts (%s) now: the pod keeps it, and cannot start here again", m, owner(e), f.Protected[i]),
			"give the pod another hostPort, or take the port out of protectedPorts")
	}
}

// ephemeral: a client on the node may be given the port as its own.
func ephemeral(f Facts, add adder) {
	for _, e := range f.List.HostPorts {
		reserved := slices.ContainsFunc(f.Reserved, func(r [2]uint16) bool { return r[0] <= e.Port && e.Port <= r[1] })
		if e.Port < f.EphemeralFrom || e.Port > f.EphemeralTo || reserved {
			continue
		}
		add("ephemeral", Warning,
			fmt.Sprintf("hostPort %d/%s of %s is inside ip_local_port_range (%d-%d): a program of the node may be given that port, and then the pod cannot start here again", e.Port, e.Protocol, owner(e), f.EphemeralFrom, f.EphemeralTo),
			fmt.Sprintf("choose a port outside, or add %d to net.ipv4.ip_local_reserved_ports", e.Port))
	}
}

// programs: what a BPF program takes at the sockets, nobody can ask it.
func programs(f Facts, add adder) {
	for _, p := range f.Programs.Attached {
		add("socket-program", Warning, fmt.Sprintf("%s is attached to the network namespace of the node and may give any port to a socket: ADDs of tcp and udp hostPorts are refused", p),
			fmt.Sprintf(`bpftool prog show id %d; detach it, or set "conflictPolicy": "warn" if it leaves hostPorts alone`, p.ID))
	}
	if f.Programs.Unknown != "" {
		add("socket-program", Info, "whether a BPF program (sk_lookup) has the traffic of hostPorts is not known: "+f.Programs.Unknown, "")
	}
}

// policy: what rules of routing lead elsewhere before table local is asked, no hostPort has.
func policy(f Facts, add adder) {
	for _, r := range f.Policy {
		add("policy-route", Warning, fmt.Sprintf("policy routing comes before table local (ip rule %q): packets that it leads elsewhere reach no hostPort", r.Text),
			"restrict that rule to what is not for the node")
	}
}

// reservation: who binds the port of a pod is refused, and need not know why.
func reservation(f Facts, add adder) {
	if r := f.List.Reservation; r.On {
		add("reservation", Info, "a process of the node that binds the hostPort of a pod is refused", "")
	} else {
		add("reservation", Info, "a process of the node that binds the hostPort of a pod is not refused, and gets no packets: "+r.Reason, "")
	}
	for _, m := range f.Forsaken {
		add("reservation", Warning, fmt.Sprintf("hostPort %s is held for no pod, because an ADD was killed: whoever binds it is refused", m), "portguard gc")
	}
	for _, r := range f.RefusedBinds {
		add("reservation", Warning, r.String(), "give one of them another port, or stop the process")
	}
}

func unread(f Facts, add adder) {
	for _, n := range f.List.Notes {
		add("unreadable", Problem, n, "repair what it names: what cannot be read is not called free. A damaged record may be deleted; its rules are found without it")
	}
}
