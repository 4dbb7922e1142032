// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/nft"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// What all cases of this package find, by kind and by whether it refuses.
func TestMessages(t *testing.T) {
	said := map[string]map[string]finding.Kind{} // by title and message
	found := func(label string, fs []Finding) {
		for _, f := range fs {
			title := fmt.Sprintf("%d %s, %s", f.Kind, f.Kind, label)
			if said[title] == nil {
				said[title] = map[string]finding.Kind{}
			}
			said[title][f.Message] = f.Kind
		}
	}
	for _, tt := range slices.Concat(every(t), nativeCases(t), mangleCases(t), ipvsCases(t), wayCases(t)) {
		r, err := Find(tt.a, tt.s)
		if err != nil {
			t.Fatal(err)
		}
		found("refuses", r.Conflicts)
		found("warning", r.Warnings)
		found("shown by explain only", r.Beside)
	}
	found("refuses", Protected([]hostport.Mapping{mapTo(v4, "")}, []hostport.Ports{{From: 79, To: 80, Proto: hostport.TCP}}, "net"))
	m := golden.New(t)
	for _, title := range slices.Sorted(maps.Keys(said)) {
		m.Section(title)
		for _, msg := range slices.Sorted(maps.Keys(said[title])) {
			code := fmt.Sprint(uint(said[title][msg]))
			if strings.HasSuffix(title, "warning") {
				code = "warning"
			}
			m.Add(code, msg)
		}
	}
	m.Section("rules that cannot be followed")
	for _, err := range endless(t) {
		m.AddError("109", err)
	}
	m.Section("ipsets whose names the kernel does not tell")
	_, err := Find(attach(mapTo(v4, "")), namelessNode(t))
	m.AddError("109", err)
	m.Check(*update)
}

// endless are errors of rules that nobody can follow.
func endless(t *testing.T) (out []error) {
	loop := node().rules(t, v4, true, "PREROUTING -j X", "X -j Y", "Y -j X")
	var branches []string
	for i := range 10_100 {
		branches = append(branches, fmt.Sprintf("PREROUTING -p tcp -m frob --level 3 -j DNAT --to-destination 10.0.%d.%d", i>>8, i&255))
	}
	many := node().rules(t, v4, true, branches...)
	filter := node().dump(t, v4, true, "*filter\n"+table([]string{"INPUT -j KUBE-EXTERNAL-SERVICES", "KUBE-EXTERNAL-SERVICES -j KUBE-EXTERNAL-SERVICES"})+"COMMIT\n")
	src := &table4{chains: map[string][]nft.Rule{"pre": {{Exprs: []nft.Expr{verdict(nft.Jump, "pre")}}}}}
	native := node().native(src, base(nft.IPv4, "t", "pre", "nat", nft.Prerouting))
	late := many
	late.Late = func() bool { return true }
	for _, s := range []Snapshot{loop, many, late, filter, native} {
		_, err := Find(attach(mapTo(v4, "")), s)
		out = append(out, err)
	}
	return out
}

// What others have chosen does not reach a terminal as it is.
func TestMessagesArePlain(t *testing.T) {
	const evil = "\x1b[2J\x1b]0;x\a\nx\u202e"
	l := listens(tcp, nodeIP, 80)
	l.Holder.Comm, l.Holder.Pod = evil, evil
	owner := hostport.Owner{Network: evil, ContainerID: "x", IfName: evil, PodNamespace: evil, PodName: evil}
	s := node().with(l).rules(t, v4, true, "PREROUTING -p tcp -m tcp --dport 80 -m comment --comment \x1b[2J -j DNAT --to-destination 10.0.0.2:80")
	s.Claims = []hostport.Claim{{Owner: owner, Key: "x", Mapping: mapTo(v4, "")}, {Owner: owner, Key: "y", Mapping: mapTo(v4, ""), Life: hostport.Dead}}
	src := &table4{chains: map[string][]nft.Rule{}}
	src.rule(evil, evil, append(dportIs(80), ex(evil))...)
	s = s.native(src, base(nft.IPv4, evil, evil, "nat", nft.Prerouting))
	r, err := Find(attach(mapTo(v4, "")), s)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(r.Conflicts, r.Warnings, r.Beside)
	if len(all) < 5 {
		t.Errorf("only %d findings", len(all))
	}
	for _, f := range all {
		if hostport.Plain(f.Message) != f.Message {
			t.Errorf("%q", f.Message)
		}
	}
}

// A rule may be as long as it likes.
func TestMessagesHaveAnEnd(t *testing.T) {
	s := node().rules(t, v4, true, "PREROUTING -p tcp -m tcp --dport 80 -m comment --comment "+strings.Repeat("x", 3000)+" -j DNAT --to-destination 10.0.0.2:80")
	r, err := Find(attach(mapTo(v4, "")), s)
	if err != nil || len(r.Conflicts) != 1 {
		t.Fatal(err, r)
	}
	if m := r.Conflicts[0].Message; len(m) > 400 || !strings.HasPrefix(m, "hostPort 80/tcp is taken: a NAT rule has it") || !strings.HasSuffix(m, "choose another hostPort") {
		t.Errorf("%q", m)
	}
}
