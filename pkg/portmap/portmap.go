// SPDX-License-Identifier: Apache-2.0

// Package portmap knows the rules of the plugin that portguard replaces: how to
// find those of one container, and whether it still lives. Names and shapes are
// those of containernetworking/plugins, plugins/meta/portmap.
package portmap

import (
	"crypto/sha512"
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

// entry is the chain that leads to those of containers.
const entry = "CNI-HOSTPORT-DNAT"

// Chain is the iptables chain of a container (pkg/utils,
// MustFormatChainNameWithPrefix).
func Chain(network, containerID string) string {
	const maxChain = 28
	return fmt.Sprintf("CNI-DN-%x", sha512.Sum512([]byte(network+containerID)))[:maxChain]
}

// Script removes a container's chain and what leads to it, for iptables-restore
// --noflush. It is "" if there is none.
func Script(d *iptsave.Dump, chain string) string {
	nat := d.Table("nat")
	if nat.Chain(chain) == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString("*nat\n")
	if c := nat.Chain(entry); c != nil {
		for _, r := range c.Rules {
			if r.Spec().Target == chain {
				fmt.Fprintf(&b, "-D %s %s\n", entry, r.Text)
			}
		}
	}
	fmt.Fprintf(&b, "-F %s\n-X %s\nCOMMIT\n", chain, chain)
	return b.String()
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
	files, _ := filepath.Glob(filepath.Join(dir, "results", "*"+escape(o.ContainerID)+"*"))
	found := false
	for _, f := range files {
		var cached struct {
			ContainerID string `json:"containerId"`
			NetworkName string `json:"networkName"`
			NetNS       string `json:"netns"`
		}
		b, err := os.ReadFile(f)
		if err != nil || json.Unmarshal(b, &cached) != nil || cached.ContainerID != o.ContainerID {
			continue
		}
		if o.Network != "" && cached.NetworkName != o.Network {
			continue
		}
		if _, err := os.Stat(cached.NetNS); cached.NetNS == "" || !os.IsNotExist(err) {
			return false
		}
		found = true
	}
	return found
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
