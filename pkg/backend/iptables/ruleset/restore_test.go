// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// fake is a kernel that knows as much of iptables-restore --noflush as a plan
// needs, and as little forgiveness as the real one has.
type fake map[string]map[string][]string

func newFake() fake {
	return fake{
		"mangle": {"PREROUTING": nil},
		"nat":    {"PREROUTING": nil, "OUTPUT": nil, "POSTROUTING": nil},
	}
}

func isBase(chain string) bool {
	return slices.Contains([]string{"PREROUTING", "OUTPUT", "POSTROUTING"}, chain)
}

// save prints as iptables-save does.
func (k fake) save() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(k)) {
		b.WriteString("*" + name + "\n")
		chains := slices.Sorted(maps.Keys(k[name]))
		for _, c := range chains {
			policy := "-"
			if isBase(c) {
				policy = "ACCEPT"
			}
			fmt.Fprintf(&b, ":%s %s [0:0]\n", c, policy)
		}
		for _, c := range chains {
			for _, r := range k[name][c] {
				fmt.Fprintf(&b, "-A %s %s\n", c, r)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// layout reads what is ours.
func (k fake) layout(t testing.TB, f hostport.Family) *Layout {
	t.Helper()
	d, err := iptsave.Parse(k.save())
	if err != nil {
		t.Fatal(err)
	}
	return FromDump(d, f)
}

func (k fake) parse() (*Layout, error) {
	d, err := iptsave.Parse(k.save())
	return FromDump(d, v4), err
}

// apply runs a plan.
func (k fake) apply(t testing.TB, script string) {
	t.Helper()
	if err := k.run(script); err != nil {
		t.Fatalf("%v\nof plan\n%s", err, script)
	}
}

// run runs a plan, after which no rule leads to a chain that is not there.
func (k fake) run(script string) error {
	var chains map[string][]string
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "*"); ok {
			chains = k[name]
			continue
		}
		if line == "COMMIT" {
			continue
		}
		if err := run(chains, line); err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
	}
	for _, chains := range k {
		for c, rules := range chains {
			for _, r := range rules {
				to := targetOf(r)
				if _, ok := chains[to]; !ok && strings.HasPrefix(to, "P") {
					return fmt.Errorf("rule %q of %s leads to no chain", r, c)
				}
			}
		}
	}
	return nil
}

func run(chains map[string][]string, line string) error {
	if name, ok := strings.CutPrefix(line, ":"); ok {
		name, _, _ = strings.Cut(name, " ")
		chains[name] = nil
		return nil
	}
	verb, rest, _ := strings.Cut(line, " ")
	name, rule, _ := strings.Cut(rest, " ")
	rules, ok := chains[name]
	if !ok {
		return fmt.Errorf("no chain %s", name)
	}
	if to := targetOf(rule); verb != "-D" && strings.HasPrefix(to, "P") {
		if _, ok := chains[to]; !ok {
			return fmt.Errorf("no target %s", to)
		}
	}
	switch verb {
	case "-A":
		chains[name] = append(rules, rule)
	case "-I":
		at, rule, _ := strings.Cut(rule, " ")
		n, err := strconv.Atoi(at)
		if err != nil || n < 1 || n > len(rules)+1 {
			return fmt.Errorf("no place %q in %d rules", at, len(rules))
		}
		chains[name] = slices.Insert(slices.Clone(rules), n-1, rule)
	case "-D":
		i := slices.Index(rules, rule)
		if i < 0 || strings.Contains(rule, "-m recent") { // of which the kernel has more than the text
			return fmt.Errorf("no such rule")
		}
		chains[name] = slices.Delete(slices.Clone(rules), i, i+1)
	case "-F":
		chains[name] = nil
	case "-X":
		for c, rs := range chains {
			if slices.ContainsFunc(rs, func(r string) bool { return targetOf(r) == name }) {
				return fmt.Errorf("%s is in use by %s", name, c)
			}
		}
		if len(rules) > 0 || isBase(name) {
			return fmt.Errorf("%s cannot be deleted", name)
		}
		delete(chains, name)
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}

// put applies an attachment and returns the plan.
func (k fake) put(t testing.TB, f hostport.Family, a hostport.Attachment, sets []Set, instead ...string) string {
	t.Helper()
	have := k.layout(t, f)
	plan := Diff(have, have.Put(a, sets, instead...))
	k.apply(t, plan)
	return plan
}

func (k fake) remove(t testing.TB, f hostport.Family, keys ...string) {
	t.Helper()
	have := k.layout(t, f)
	k.apply(t, Diff(have, have.Remove(keys...)))
}

func mapping(f hostport.Family, ip string, p hostport.Proto, port, to uint16) hostport.Mapping {
	m := hostport.Mapping{Family: f, Proto: p, HostPort: port, ContainerPort: to}
	if ip != "" {
		m.HostIP = netip.MustParseAddr(ip)
	}
	return m
}

// dualStack is an attachment with all that an attachment can have.
func dualStack() hostport.Attachment {
	return hostport.Attachment{
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		Owner:    hostport.Owner{Network: "cbr0", ContainerID: "0123456789abcdef", IfName: "eth0"},
		Pods:     []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd00::2/64")},
		Mappings: []hostport.Mapping{
			mapping(4, "", hostport.TCP, 80, 8080), mapping(6, "", hostport.TCP, 80, 8080),
			mapping(4, "192.0.2.1", hostport.UDP, 53, 5353), mapping(6, "2001:db8::1", hostport.SCTP, 99, 100),
		},
		Carves:   []hostport.Carve{{Addr: netip.MustParseAddr("127.0.0.1"), Proto: hostport.TCP, Port: 80}},
		Excludes: []netip.Prefix{netip.MustParsePrefix("192.0.2.64/26"), netip.MustParsePrefix("10.96.0.10/32"), netip.MustParsePrefix("2001:db8:1::/48")},
		SNAT:     true, Localhost: true, Link: "veth1",
		ConditionsV4: []string{"!", "-s", "198.51.100.0/24"},
	}
}

// simple maps port 80+n of IPv4.
func simple(id, link string, port uint16) hostport.Attachment {
	return hostport.Attachment{
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		Owner:    hostport.Owner{Network: "n", ContainerID: id, IfName: "eth0"}, Pods: []netip.Prefix{netip.MustParsePrefix("10.1.0.9/24")},
		Mappings: []hostport.Mapping{mapping(4, "", hostport.TCP, port, 80)}, SNAT: true, Localhost: link != "", Link: link,
	}
}
