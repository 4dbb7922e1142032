// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"
	"regexp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
)

// printed is a rule as its tool prints it, "" if that cannot.
func (q query) printed(h walk.Hop) string {
	if q.s.Print == nil {
		return ""
	}
	r := Rule{Flavour: q.flavour(h.Table), Family: q.m.Family, Table: h.Table.Name, Chain: h.Chain, Index: h.Index, Handle: h.Handle}
	if r.Flavour == "" {
		r.Native = h.Table
	}
	return q.s.Print(r)
}

// removal is the command that removes a rule. It is for a shell, and names and comments are
// others' choice: "" if those of the chain are more than a name.
func (q query) removal(path walk.Path) string {
	h := path.Last()
	name := regexp.MustCompile(`^[A-Za-z0-9_./:@+-]+$`)
	if !name.MatchString(h.Chain) || !name.MatchString(h.Table.Name) {
		return ""
	}
	fl := q.flavour(h.Table)
	tool := fmt.Sprintf("%s-%s -t %s -D %s", q.tool(), fl, h.Table.Name, h.Chain)
	switch text := q.printed(h); {
	case fl != "" && pasted(text):
		return tool + " " + text
	case fl == "legacy":
		return fmt.Sprintf("%s %d", tool, h.Index+1)
	}
	return fmt.Sprintf("nft delete rule %s %s handle %d", h.Table, h.Chain, h.Handle)
}

// tool is the name of iptables for the family of the mapping.
func (q query) tool() string {
	return map[hostport.Family]string{hostport.IPv4: "iptables", hostport.IPv6: "ip6tables"}[q.m.Family]
}

// pasted reports whether the text of a rule means the same to a shell.
func pasted(text string) bool {
	return regexp.MustCompile(`^(?:[A-Za-z0-9 _./:,=+@%-]|! |"[^"$` + "`" + `\\!]*")+$`).MatchString(text)
}

// removing puts the command behind what is is to be done: "remove that rule (iptables ...)".
func (q query) removing(path walk.Path) string {
	if cmd := q.removal(path); cmd != "" {
		return "remove that rule (" + cmd + ")"
	}
	return "remove that rule"
}

// narrowing is what to do about what keeps packets from the mapping: a rule, or else a policy.
func (q query) narrowing(path walk.Path) string {
	if len(path.Hops) == 0 {
		return "accept the packets of that port before the policy, or let it be accept"
	}
	return q.removing(path) + " or restrict it"
}
