// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"path/filepath"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// Foreign appends a rule to a chain of table nat, with the library that most programs of a
// node use, and makes the chain if there is none. Family is "6" for IPv6.
func (n *Node) Foreign(family, chain, rule string) {
	n.T.Helper()
	proto := iptables.ProtocolIPv4
	if family == "6" {
		proto = iptables.ProtocolIPv6
	}
	var err error
	n.Do(func() {
		var t *iptables.IPTables
		t, err = iptables.New(iptables.IPFamily(proto), iptables.Path(filepath.Join(n.Dir, "path", "ip"+family+"tables")))
		if err != nil {
			return
		}
		var there bool
		if there, err = t.ChainExists("nat", chain); err == nil && !there {
			err = t.NewChain("nat", chain)
		}
		if err == nil {
			err = t.Append("nat", chain, strings.Fields(rule)...)
		}
	})
	if err != nil {
		n.T.Fatalf("%s: %s: %v", chain, rule, err)
	}
}
