// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// reached walks a packet as the kernel would and returns the attachments whose mappings
// it gets to, as long as it meets all conditions.
func (k fake) reached(t testing.TB, p hostport.Proto, port uint16) (keys []string) {
	t.Helper()
	var walk func(chain string)
	walk = func(chain string) {
		if isDNAT(chain) {
			keys = append(keys, keyOf(chain))
			return
		}
		for _, r := range k["nat"][chain] {
			s := iptsave.Rule{Text: r}.Spec()
			if proto, _ := s.Option("-p"); s.Target != "RETURN" && proto.Value() == p.String() && portIn(t, s, port) {
				walk(s.Target)
			}
		}
	}
	walk(hostports)
	return keys
}

func portIn(t testing.TB, s iptsave.Spec, port uint16) bool {
	t.Helper()
	o, ok := s.Option("--dports")
	if !ok {
		o, _ = s.Option("--dport")
	}
	for part := range strings.SplitSeq(o.Value(), ",") {
		var n uint16
		if _, err := fmt.Sscanf(part, "%d", &n); err != nil {
			t.Fatalf("ports %q", o.Value())
		}
		if n == port {
			return true
		}
	}
	return false
}

// many is an attachment with some ports.
func many(id string, proto hostport.Proto, ports ...uint16) hostport.Attachment {
	a := simple(id, "", 0)
	a.Mappings = nil
	for _, p := range ports {
		a.Mappings = append(a.Mappings, mapping(4, "", proto, p, 80))
	}
	return a
}

// crowded is a kernel with many hostPorts.
func crowded() fake {
	k := foreign()
	have, _ := k.parse()
	all := have
	for i := range uint16(60) {
		all = all.Put(nil, many(fmt.Sprint(i), hostport.TCP, 8000+3*i))
	}
	if err := k.run(Diff(have, all)); err != nil {
		panic(err)
	}
	return k
}
