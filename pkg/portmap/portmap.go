// SPDX-License-Identifier: Apache-2.0

// Package portmap knows the rules of the plugin that portguard replaces: how to
// find those of one container, and whether it still lives. Names and shapes are
// those of containernetworking/plugins, plugins/meta/portmap.
package portmap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

// Entry is the chain that leads to those of containers.
const Entry = "CNI-HOSTPORT-DNAT"

// Mentioned reports whether rules of Entry, as nf_tables has them, may be for a
// container: whether its ID is in any of them.
func Mentioned(rules []nft.Rule, o hostport.Owner) bool {
	return o.ContainerID != "" && slices.ContainsFunc(rules, func(r nft.Rule) bool {
		return strings.Contains(r.Comment, o.ContainerID) ||
			slices.ContainsFunc(r.Exprs, func(e nft.Expr) bool { return bytes.Contains(e.Attrs, []byte(o.ContainerID)) })
	})
}

// Script removes a container's chain and what leads to it, for iptables-restore
// --noflush. It is "" if there is none. A network that is not known is any.
func Script(d *iptsave.Dump, o hostport.Owner) string {
	nat := d.Table("nat")
	entry := nat.Chain(Entry)
	if entry == nil || o.ContainerID == "" {
		return ""
	}
	var b strings.Builder
	var chains []string
	for _, r := range entry.Rules {
		s := r.Spec()
		whose, ok := Owner(s.Comment())
		if !ok || whose.ContainerID != o.ContainerID || o.Network != "" && whose.Network != o.Network || nat.Chain(s.Target) == nil {
			continue
		}
		if !slices.Contains(chains, s.Target) {
			chains = append(chains, s.Target)
		}
		if !strings.Contains(r.Text, "\n") { // portmap writes no line breaks
			fmt.Fprintf(&b, "-D %s %s\n", Entry, r.Text)
		}
	}
	if len(chains) == 0 {
		return ""
	}
	for _, c := range chains {
		fmt.Fprintf(&b, "-F %s\n-X %s\n", c, c)
	}
	return "*nat\n" + b.String() + "COMMIT\n"
}

// Tables are those of the nftables backend.
func Tables() []nft.Table {
	return []nft.Table{{Family: nft.IPv4, Name: "cni_hostport"}, {Family: nft.IPv6, Name: "cni_hostport"}}
}

// Remove adds to a batch what removes a container's rules from a table: they
// carry its ID as their comment.
func Remove(b *nft.Batch, t nft.Table, rules map[string][]nft.Rule, containerID string) {
	for chain, list := range rules {
		for _, r := range list {
			if containerID != "" && r.Comment == containerID {
				b.DeleteRule(t, chain, r.Handle)
			}
		}
	}
}

// Dead reports whether libcni's cache of results, below dir, knows the container
// and its network namespace is gone. One that the cache does not know lives.
func Dead(dir string, o hostport.Owner) bool {
	found := false
	for _, c := range results(dir, o) {
		if _, err := os.Stat(c.NetNS); c.NetNS == "" || !os.IsNotExist(err) {
			return false
		}
		found = true
	}
	return found
}

// Pod completes the owner with the name of its pod, if the cache knows it.
func Pod(dir string, o hostport.Owner) hostport.Owner {
	for _, c := range results(dir, o) {
		if o.Network == "" {
			o.Network = c.NetworkName
		}
		for _, arg := range c.Args {
			switch arg[0] {
			case "K8S_POD_NAMESPACE":
				o.PodNamespace = arg[1]
			case "K8S_POD_NAME":
				o.PodName = arg[1]
			}
		}
	}
	return o
}

// A result is what libcni remembers of an ADD (libcni/api.go, cachedInfo).
type result struct {
	ContainerID string      `json:"containerId"`
	NetworkName string      `json:"networkName"`
	NetNS       string      `json:"netns"`
	Args        [][2]string `json:"cniArgs"`
}

// results are those of a container, and of its network if that is known.
func results(dir string, o hostport.Owner) []result {
	files, _ := filepath.Glob(filepath.Join(dir, "results", "*"+escape(o.ContainerID)+"*"))
	var out []result
	for _, f := range files {
		var c result
		b, err := os.ReadFile(f)
		if err != nil || json.Unmarshal(b, &c) != nil || c.ContainerID != o.ContainerID || o.Network != "" && c.NetworkName != o.Network {
			continue
		}
		out = append(out, c)
	}
	return out
}

// escape keeps a container ID from being a pattern.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if slices.Contains([]rune(`*?[\`), r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
