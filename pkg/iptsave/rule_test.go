// SPDX-License-Identifier: Apache-2.0

package iptsave

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func opt(module, name string, values ...string) Option {
	return Option{Module: module, Name: name, Values: values}
}

func not(o Option) Option {
	o.Not = true
	return o
}

func TestSpec(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Spec
	}{
		{"an empty rule has nothing", "", Spec{}},
		{"a jump alone", "-j ACCEPT", Spec{Target: "ACCEPT"}},
		{"a goto is told from a jump", "-g X", Spec{Target: "X", Goto: true}},
		{"an option knows its module", "-p tcp -m tcp --dport 80 -j X", Spec{
			Matches: []Option{opt("", "-p", "tcp"), opt("tcp", "-m", "tcp"), opt("tcp", "--dport", "80")}, Target: "X",
		}},
		{"options belong to the last module", "-m conntrack --ctstate NEW -m mark ! --mark 0x1 -j X", Spec{
			Matches: []Option{opt("conntrack", "-m", "conntrack"), opt("conntrack", "--ctstate", "NEW"), opt("mark", "-m", "mark"), not(opt("mark", "--mark", "0x1"))}, Target: "X",
		}},
		{"an address behind a module is still iptables' own", "-m tcp -d 192.0.2.1 --dport 1", Spec{
			Matches: []Option{opt("tcp", "-m", "tcp"), opt("", "-d", "192.0.2.1"), opt("tcp", "--dport", "1")},
		}},
		{"a negation belongs to the option behind it", "! -s 10.0.0.0/8 -d 192.0.2.1/32", Spec{
			Matches: []Option{not(opt("", "-s", "10.0.0.0/8")), opt("", "-d", "192.0.2.1/32")},
		}},
		{"an option may have many values and none", "-m tcp --tcp-flags SYN,RST SYN --syn", Spec{
			Matches: []Option{opt("tcp", "-m", "tcp"), opt("tcp", "--tcp-flags", "SYN,RST", "SYN"), opt("tcp", "--syn")},
		}},
		{"what follows the target is the target's", "-p tcp -j DNAT --to-destination 10.0.0.1:80 --random", Spec{
			Matches: []Option{opt("", "-p", "tcp")}, Target: "DNAT",
			TargetOptions: []Option{opt("", "--to-destination", "10.0.0.1:80"), opt("", "--random")},
		}},
		{"quoted words are never options", `-m comment --comment "-j ACCEPT" -j X`, Spec{
			Matches: []Option{opt("comment", "-m", "comment"), opt("comment", "--comment", "-j ACCEPT")}, Target: "X",
		}},
		{"a quoted ! is not a negation", `-m comment --comment "!" -p tcp`, Spec{
			Matches: []Option{opt("comment", "-m", "comment"), opt("comment", "--comment", "!"), opt("", "-p", "tcp")},
		}},
		{"a quoted -j is not a jump", `-m comment --comment "-j" -j X`, Spec{
			Matches: []Option{opt("comment", "-m", "comment"), opt("comment", "--comment", "-j")}, Target: "X",
		}},
		{"long names are those of iptables-save", "--source 1.1.1.1 --destination 2.2.2.2 --protocol tcp --match tcp --destination-port 5 --source-port 6 --in-interface a --out-interface b --jump X", Spec{
			Matches: []Option{
				opt("", "-s", "1.1.1.1"), opt("", "-d", "2.2.2.2"), opt("", "-p", "tcp"), opt("tcp", "-m", "tcp"),
				opt("tcp", "--dport", "5"), opt("tcp", "--sport", "6"), opt("", "-i", "a"), opt("", "-o", "b"),
			}, Target: "X",
		}},
		{"other long names too", "--src 1.1.1.1 --dst 2.2.2.2 --proto udp -m multiport --destination-ports 1,2 --goto X", Spec{
			Matches: []Option{
				opt("", "-s", "1.1.1.1"), opt("", "-d", "2.2.2.2"), opt("", "-p", "udp"), opt("multiport", "-m", "multiport"), opt("multiport", "--dports", "1,2"),
			}, Target: "X", Goto: true,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Rule{Text: tt.in}.Spec(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestSpecQuestions(t *testing.T) {
	s := Rule{Text: `-p tcp -m comment --comment "portguard n id eth0" -j DNAT --to-destination [fd00::2]:80`}.Spec()
	got := []string{s.Comment(), s.ToDestination()}
	if diff := cmp.Diff([]string{"portguard n id eth0", "[fd00::2]:80"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, ok := s.Option("--dport"); ok {
		t.Error("an option that is not there was found")
	}
	none := Rule{Text: "-j X"}.Spec()
	if none.Comment() != "" || none.ToDestination() != "" || (Option{}).Value() != "" {
		t.Error("a rule without options has values")
	}
}

func TestCanonical(t *testing.T) {
	for _, tt := range []struct {
		name, a, b string
		equal      bool
	}{
		{"the order of matches does not matter", "-p tcp -d 10.0.0.1/32 -m tcp --dport 80 -j X", "-d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j X", true},
		{"the order of modules does not matter", `-m comment --comment "a b" -m addrtype --dst-type LOCAL -j X`, `-m addrtype --dst-type LOCAL -m comment --comment "a b" -j X`, true},
		{"a module that iptables adds does not matter", "-p tcp --dport 80 -j X", "-p tcp -m tcp --dport 80 -j X", true},
		{"an address equals its host prefix", "-d 10.0.0.1 -j X", "-d 10.0.0.1/32 -j X", true},
		{"an IPv6 address equals its host prefix", "-s fd00::1 -j X", "-s fd00::1/128 -j X", true},
		{"host bits do not matter", "-s 10.1.2.3/8 -j X", "-s 10.0.0.0/8 -j X", true},
		{"needless quotes do not matter", `-m comment --comment "a" -j X`, "-m comment --comment a -j X", true},
		{"negation matters", "! -s 10.0.0.0/8 -j X", "-s 10.0.0.0/8 -j X", false},
		{"the port matters", "-p tcp --dport 80 -j X", "-p tcp --dport 81 -j X", false},
		{"the target matters", "-p tcp -j X", "-p tcp -j Y", false},
		{"goto is not jump", "-p tcp -j X", "-p tcp -g X", false},
		{"target options matter", "-j DNAT --to-destination 1.1.1.1", "-j DNAT --to-destination 1.1.1.2", false},
		{"the comment matters", "-m comment --comment a -j X", "-m comment --comment b -j X", false},
		{"one more match matters", "-p tcp -j X", "-p tcp -i lo -j X", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := Rule{Text: tt.a}.Spec().Canonical(), Rule{Text: tt.b}.Spec().Canonical()
			if (a == b) != tt.equal {
				t.Errorf("equal should be %v:\n%s\n%s", tt.equal, a, b)
			}
		})
	}
}

func FuzzSpec(f *testing.F) {
	f.Add(`! -s 10.0.0.0/8 -p tcp -m tcp --dport 80 -m comment --comment "a \"b\"" -j DNAT --to-destination 1.1.1.1:80`)
	f.Add(`-g X --jump`)
	f.Fuzz(func(t *testing.T, text string) {
		r := Rule{Text: text}
		s := r.Spec()
		words := 0
		for _, o := range slices.Concat(s.Matches, s.TargetOptions) {
			if !strings.HasPrefix(o.Name, "-") {
				t.Errorf("option %q", o.Name)
			}
			words += 1 + len(o.Values)
		}
		if have := len(Split(text)); words > have {
			t.Errorf("%d words made of %d", words, have)
		}
		if r.Spec().Canonical() != (Rule{Text: text}).Spec().Canonical() {
			t.Error("the canonical text differs between two calls")
		}
	})
}
