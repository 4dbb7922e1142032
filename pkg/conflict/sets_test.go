// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/xtrule"
	"github.com/portguard/portguard/pkg/walk"
)

// countedSets counts what is asked.
type countedSets struct {
	walk.Sets
	asked map[string]int
}

func (s countedSets) SetName(index uint16) (string, error) {
	s.asked["name"]++
	return s.Sets.SetName(index)
}

func (s countedSets) SetType(name string) (string, error) {
	s.asked["type of "+name]++
	return s.Sets.SetType(name)
}

func (s countedSets) SetMembers(name string) ([]hostport.Member, bool, error) {
	s.asked["members of "+name]++
	return s.Sets.SetMembers(name)
}

// A set is listed once, whatever the number of ports, families, hooks and tables.
func TestSetsAreListedOnce(t *testing.T) {
	var ms []hostport.Mapping
	for i := range uint16(20) {
		ms = append(ms, mapPort(v4, "", tcp, 80+i))
	}
	rules := []string{"PREROUTING -p tcp -m set --match-set S src -j ACCEPT", "OUTPUT -p tcp -m set --match-set S src -j ACCEPT"}
	s := node().rules(t, v4, true, rules...)
	known := fakeSets{members: map[string][]string{"S": {"hash:net", "10.0.0.0/8"}}, rules: s.Rulesets[0].Source.(*xtrule.Tables)}
	c := countedSets{known, map[string]int{}}
	s.Sets = c
	s = s.mangled(t, rules...)
	if _, err := Find(attach(ms...), s); err != nil || len(c.asked) < 3 {
		t.Errorf("asked %v, %v", c.asked, err)
	}
	for what, n := range c.asked {
		if n > 1 {
			t.Errorf("asked %d times for the %s", n, what)
		}
	}
}

// Who drops all packets of listed sources, as a list of attackers, names no port. A set that has ports may.
func TestListsOfSources(t *testing.T) {
	for typ, want := range map[string]string{"hash:ip": "", "hash:net": "", "hash:ip,port": "warn 105", "list:set": "warn 105"} {
		s := node()
		s = s.dump(t, v4, false, "*raw\n"+table([]string{"PREROUTING -m set --match-set S src,dst -j DROP"})+"COMMIT\n")
		s.Sets = fakeSets{members: map[string][]string{"S": {typ}}, rules: s.Rulesets[0].Source.(*xtrule.Tables)}
		r, err := Find(attach(mapTo(v4, "")), s)
		if got := say(r); got != want || err != nil {
			t.Errorf("%s: got %q, want %q (%v)", typ, got, want, err)
		}
	}
}
