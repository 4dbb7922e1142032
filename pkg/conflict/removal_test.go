// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"strings"
	"testing"
)

// The command that removes a rule is that of whose it is, and means to a shell what it says.
// Where the text of a rule would not, it is told by its handle or its number.
func TestRemoval(t *testing.T) {
	s := node().rules(t, v4, true, "PREROUTING -p udp -j ACCEPT", "PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080")
	legacy := s
	legacy.Rulesets = []Ruleset{{Holder: Legacy, Chains: s.Rulesets[0].Chains, Source: s.Rulesets[0].Source}}
	for _, tt := range []struct {
		s          Snapshot
		text, want string
	}{
		{s, `-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080`, "(iptables-nft -t nat -D PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080)"},
		{s, `! -i docker0 -m comment --comment "a b; c" -j REDIRECT`, `(iptables-nft -t nat -D PREROUTING ! -i docker0 -m comment --comment "a b; c" -j REDIRECT)`},
		{s, `-m comment --comment "$(reboot)" -j REDIRECT`, "(nft delete rule ip nat PREROUTING handle 2)"},
		{s, "-m comment --comment `reboot` -j REDIRECT", "(nft delete rule ip nat PREROUTING handle 2)"},
		{s, `-m comment --comment "a\"; reboot" -j REDIRECT`, "(nft delete rule ip nat PREROUTING handle 2)"},
		{s, `-m comment --comment a;reboot -j REDIRECT`, "(nft delete rule ip nat PREROUTING handle 2)"},
		{s, "", "(nft delete rule ip nat PREROUTING handle 2)"},
		{legacy, `-j REDIRECT`, "(iptables-legacy -t nat -D PREROUTING -j REDIRECT)"},
		{legacy, `-m comment --comment "$HOME" -j REDIRECT`, "(iptables-legacy -t nat -D PREROUTING 2)"},
	} {
		tt.s.Print = func(Rule) string { return tt.text }
		r, err := Find(attach(mapTo(v4, "")), tt.s)
		if err != nil || len(r.Conflicts) != 1 || !strings.Contains(r.Conflicts[0].Remedy, tt.want) || !strings.HasSuffix(r.Conflicts[0].Message, r.Conflicts[0].Remedy) {
			t.Errorf("%q: %v, %+v, want %q", tt.text, err, r.Conflicts, tt.want)
		}
	}
}
