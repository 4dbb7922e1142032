// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// oddNames are names that the kernel takes for a link.
func oddNames() []string {
	return []string{"eth0", `";monitor#`, `eth0"#`, "br'0", `br\`, "br+", "+", "!", "!br", "-i", "--", "-t", "-jX", "#br", "$(x)", "*", "br*", "a;b", "{", "}", "@a,b",
		"\x01\x1b[2J", "\xff\xfe", "\u00fc\u202e", "eth0.100", "portguard", "COMMIT"}
}

// isLink reports whether the kernel takes a name for a link (dev_valid_name).
func isLink(name string) bool {
	return name != "" && len(name) < 16 && name != "." && name != ".." && !strings.ContainsAny(name, "/: \t\n\v\f\r\x00") && !strings.Contains(name, "\xa0")
}

// What the real tools of both flavours are given to read, they read: the kernel has it,
// and what they print of it is read by us, and by them again.
func FuzzTools(f *testing.F) {
	need.Root(f)
	for _, name := range oddNames() {
		f.Add(name, "portguard "+name)
		f.Add("eth0", name)
	}
	f.Add("eth0", `a "b" \c' -j ACCEPT`)
	f.Add("eth0", strings.Repeat(`"`, 255))
	f.Fuzz(func(t *testing.T, link, comment string) {
		if !isLink(link) || !iptsave.Nameable(link) || comment == "" || len(comment) > 255 || strings.ContainsAny(comment, "\n\x00") {
			return
		}
		need.Netns(t)
		want := []string{"-s 127.0.0.0/8", "-i " + link, "comment " + comment, "RETURN"}
		const chain = "PORTGUARD-MASQ"
		script := "*nat\n:" + chain + " - [0:0]\n-A " + chain + " " + iptsave.Join("-s", "127.0.0.0/8", "-i", link, "-m", "comment", "--comment", comment, "-j", "RETURN") + "\nCOMMIT\n"
		for _, fl := range iptables.Flavours() {
			tools := &iptables.Tools{Wait: 5 * time.Second}
			for _, from := range []string{"portguard", "the tool"} {
				if err := tools.Restore(fl, hostport.IPv4, script); err != nil {
					t.Fatalf("%s, written by %s: %v\n%s", fl, from, err, script)
				}
				rules, err := kernel(tools).Open().Rules(string(fl), nft.Table{Family: nft.IPv4, Name: "nat"}, chain)
				if err != nil || len(rules) != 1 {
					t.Fatalf("%s has %d rules, %v\n%s", fl, len(rules), err, script)
				}
				spec, whole := xt.Spec(rules[0], hostport.IPv4)
				if d := cmp.Diff(want, said(spec)); d != "" || !whole {
					t.Errorf("%s has, written by %s (-want +got)\n%s", fl, from, d)
				}
				nat, err := tools.Save(fl, hostport.IPv4, "nat")
				if err != nil {
					t.Fatal(err)
				}
				printed := nat.Chain(chain).Rules[0]
				if d := cmp.Diff(want, said(printed.Spec())); d != "" {
					t.Errorf("%s prints %q (-want +got)\n%s", fl, printed.Text, d)
				}
				script = "*nat\n:" + chain + " - [0:0]\n-A " + chain + " " + printed.Text + "\nCOMMIT\n"
			}
		}
	})
}

// said is what a rule of FuzzTools says.
func said(s iptsave.Spec) []string {
	src, _ := s.Option("-s")
	in, _ := s.Option("-i")
	return []string{"-s " + src.Value(), "-i " + in.Value(), "comment " + s.Comment(), s.Target}
}

// An attachment whose interface and link are called anything comes, is as it must be, is
// known again without its record, and goes. Rules match its link alone, or none.
func TestOddNames(t *testing.T) {
	for _, fl := range iptables.Flavours() {
		t.Run(string(fl), func(t *testing.T) {
			need.Netns(t)
			b := New(fl, onKernel(t, fl))
			have := load(t, b)
			for i, name := range oddNames() {
				if !isLink(name) {
					t.Errorf("%q is no name of a link", name)
				}
				a := web(i)
				a.Owner.IfName, a.Link = name, name
				a.Pods = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(9 + i)}), 24)}
				have = have.With(a).(*State)
			}
			if err := b.Apply(load(t, b), have); err != nil {
				t.Fatal(err)
			}
			s := load(t, b)
			links := s.Links()
			for i, name := range oddNames() {
				a := web(i)
				a.Owner.IfName = name
				got, _ := s.Recover(a.Owner.Key())
				if got.Owner != a.Owner || got.Link != name || len(links[name]) != 1 || links[name][0] != a.Owner.Key() {
					t.Errorf("%q is known as %+v, and leads to %v", name, got, links[name])
				}
				if lost := s.Missing(got); len(lost) > 0 {
					t.Errorf("%q: lost %q", name, lost)
				}
			}
			text := shown(t, b)
			for _, wider := range []string{"-o + ", "-o br+ "} {
				if strings.Contains(text, wider) {
					t.Errorf("a rule has %q, which is more than one link", wider)
				}
			}
			tool := "iptables-" + string(fl)
			if out, err := exec.Command("sh", "-c", tool+"-save | "+tool+"-restore").CombinedOutput(); err != nil || text != shown(t, b) {
				t.Errorf("the tool does not read what it has printed: %v %s", err, out)
			}
			for i, name := range oddNames() {
				a := web(i)
				a.Owner.IfName = name
				s = s.Without(a.Owner.Key()).(*State)
			}
			if err := b.Apply(load(t, b), s); err != nil || strings.Contains(shown(t, b), "PORTGUARD") {
				t.Errorf("%v, left:\n%s", err, shown(t, b))
			}
		})
	}
}

// Whatever a configuration may have as conditions, the real tools either refuse them, and
// all is as it was, or restrict the one attachment with them.
func FuzzConditions(f *testing.F) {
	need.Root(f)
	for _, words := range [][2]string{
		{"-s", "192.0.2.2"}, {"-s192.0.2.2", "-f"}, {"!", "-s"}, {"--", "x"}, {"-s", "-j"}, {"-m", "comment"}, {"-mcomment", "--comment"}, {"-i", "br+"}, {"-i", `a"b`}, {"-i", "a b"},
		{"-mrecent", "--set"}, {"--src", "192.0.2.2"}, {"--in-int", "eth0"}, {"-fj", "ACCEPT"}, {"-f4", "-6"}, {"--dports", "1:65535"}, {"!", "--dports"}, {"--ctorigdst", "192.0.2.1"}, {"-m", `x"; -j`},
		{"-m", "../../x"}, {"-o", "eth0"}, {"-s", strings.Repeat("1", 2000)}, {"-s", strings.Repeat("1 ", 1000) + "-F"},
	} {
		f.Add(words[0], words[1])
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		conf, _ := json.Marshal(map[string][]string{"conditionsV4": {one, two}})
		c, err := netconf.Parse(conf)
		if err != nil || c.Syntax != "iptables" {
			return
		}
		need.Netns(t)
		for _, fl := range iptables.Flavours() {
			b, a, other := New(fl, kernel(&iptables.Tools{Wait: 5 * time.Second})), web(0), web(1)
			a.ConditionsV4 = c.Template.ConditionsV4
			if err := b.Apply(load(t, b), load(t, b).With(other)); err != nil {
				t.Fatal(err)
			}
			was := shown(t, b)
			err := b.Apply(load(t, b), load(t, b).With(a))
			if s := load(t, b); err == nil && len(append(s.Missing(a), s.Missing(other)...)) > 0 {
				t.Errorf("%s, %q: lost %q of its own and %q", fl, a.ConditionsV4, s.Missing(a), s.Missing(other))
			}
			if err == nil {
				err = b.Apply(load(t, b), load(t, b).Without(a.Owner.Key()))
			} else if strings.Contains(err.Error(), "not be undone") || strings.Contains(err.Error(), "(killed;") {
				t.Error(err)
			} else {
				err = nil
			}
			if diff := cmp.Diff(was, shown(t, b)); err != nil || diff != "" {
				t.Errorf("%s, %q: %v (-was +is)\n%s", fl, a.ConditionsV4, err, diff)
			}
		}
	})
}
