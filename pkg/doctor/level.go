// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/place"
)

// level: of two base chains with one priority nobody can tell which is first.
func level(f Facts, add adder) {
	if !f.Proxies.Native {
		return
	}
	backends := []string{f.Backend}
	for _, e := range f.List.HostPorts {
		if e.By == "portguard" && e.State != inventory.Waiting {
			backends = append(backends, e.Backend)
		}
	}
	slices.Sort(backends)
	for _, b := range slices.Compact(backends) {
		if strings.HasPrefix(b, place.IPTables) {
			add("order", Warning, place.Unordered(b), `use "backend": "auto" and conditions in the syntax of nftables, and restart the pods that are in iptables`)
		}
	}
}
