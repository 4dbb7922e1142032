// SPDX-License-Identifier: Apache-2.0

package iptsave

import (
	"net/netip"
	"slices"
	"strings"
)

// A Rule is one rule as text, without "-A CHAIN ". It is decoded only when
// somebody asks: of 20,000 rules a walk looks at a few hundred.
type Rule struct {
	Text string
}

// A Spec is a decoded rule.
type Spec struct {
	Matches []Option
	// Target is the verdict, extension or chain after -j or -g, "" for none.
	Target string
	Goto   bool
	// TargetOptions are what follows the target.
	TargetOptions []Option
}

// An Option is one option with its values, such as "! --dport 80".
type Option struct {
	Not bool
	// Module is the -m the option belongs to, "" for iptables' own (-s, -p).
	Module string
	Name   string
	Values []string
}

// Value returns the first value, "" if there is none.
//
//go:noinline // it is called from many places
func (o Option) Value() string {
	if len(o.Values) == 0 {
		return ""
	}
	return o.Values[0]
}

// String writes the option as it stands in a rule.
func (o Option) String() string {
	var b strings.Builder
	if o.Not {
		b.WriteString("! ")
	}
	b.WriteString(o.Name)
	for _, v := range o.Values {
		b.WriteString(" " + Quote(v))
	}
	return b.String()
}

// Spec decodes the rule. A module named with -m stays in Matches as an option
// of that name, because some modules match without any option of their own.
func (r Rule) Spec() Spec { return specOf(Split(r.Text)) }

// Of decodes a rule of arguments.
func Of(args ...string) Spec {
	words := make([]Word, len(args))
	for i, a := range args {
		words[i] = Word{a, Quote(a) != a}
	}
	return specOf(words)
}

func specOf(words []Word) Spec {
	all := options(words)
	module := ""
	for i := range all {
		o := &all[i]
		if o.Name == "-j" || o.Name == "-g" {
			return Spec{Matches: all[:i:i], Target: o.Value(), Goto: o.Name == "-g", TargetOptions: all[i+1:]}
		}
		if o.Name == "-m" {
			module = o.Value()
		}
		switch o.Name {
		case "-s", "-d", "-p", "-i", "-o", "-f":
		default:
			o.Module = module
		}
	}
	return Spec{Matches: all}
}

// options groups the arguments of a rule: an option, its "!" and its values.
func options(words []Word) []Option {
	texts := make([]string, len(words)) // of which the values of an option are a part
	out := make([]Option, 0, len(words)/2+1)
	not, end := false, 0 // end is where the values of the last option end
	for i, w := range words {
		texts[i] = w.text
		wanted := len(out) > 0 && out[len(out)-1].wantsValue() && !not
		switch {
		case wanted, w.quoted, w.text != "!" && !strings.HasPrefix(w.text, "-"):
			if len(out) > 0 {
				last := &out[len(out)-1]
				if n := len(last.Values); end == i {
					last.Values = texts[i-n : i+1 : i+1]
				} else {
					last.Values = append(last.Values, w.text)
				}
				end = i + 1
			}
		case w.text == "!":
			not = true
		default:
			out = append(out, Option{Not: not, Name: alias(w.text)})
			not, end = false, i+1
		}
	}
	return out
}

// wantsValue reports whether the next word is o's value whatever it looks like:
// iptables-save prints a comment "-p" without quotes.
func (o Option) wantsValue() bool {
	if len(o.Values) > 0 {
		return false
	}
	switch o.Name {
	case "-s", "-d", "-p", "-i", "-o", "-j", "-g", "-m", "--comment", "--name", "--log-prefix", "--nflog-prefix",
		"--string", "--hex-string", "--helper", "--nfacct-name", "--path", "--match-set", "--label", "--domain":
		return true
	}
	return false
}

// alias maps long names, which a user's conditions may hold, to those that
// iptables-save prints.
func alias(name string) string {
	short := map[string]string{
		"--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--protocol": "-p", "--proto": "-p",
		"--in-interface": "-i", "--out-interface": "-o", "--jump": "-j", "--goto": "-g", "--match": "-m",
		"--destination-port": "--dport", "--source-port": "--sport", "--destination-ports": "--dports", "--source-ports": "--sports",
	}
	if s, ok := short[name]; ok {
		return s
	}
	return name
}

// Option returns the first match option of that name.
func (s Spec) Option(name string) (Option, bool) { return Find(s.Matches, name) }

// Find returns the first option of that name.
//
//go:noinline // it is called from many places
func Find(opts []Option, name string) (Option, bool) {
	for _, o := range opts {
		if o.Name == name {
			return o, true
		}
	}
	return Option{}, false
}

// Comment returns the rule's comment, "" if it has none.
func (s Spec) Comment() string {
	o, _ := s.Option("--comment")
	return o.Value()
}

// ToDestination returns DNAT's --to-destination.
func (s Spec) ToDestination() string {
	o, _ := Find(s.TargetOptions, "--to-destination")
	return o.Value()
}

// Text writes a decoded rule as iptables-save does: addresses, interfaces and protocol
// come first.
func (s Spec) Text() string {
	var words []string
	heads := [...]string{"-s", "-d", "-i", "-o", "-p", "-f"}
	for _, name := range heads {
		if o, ok := s.Option(name); ok {
			words = append(words, o.String())
		}
	}
	for _, o := range s.Matches {
		if !slices.Contains(heads[:], o.Name) {
			words = append(words, o.String())
		}
	}
	return strings.Join(append(words, s.verdict()...), " ")
}

// verdict are the words behind the matches.
func (s Spec) verdict() (words []string) {
	if s.Target != "" {
		words = append(words, map[bool]string{false: "-j ", true: "-g "}[s.Goto]+s.Target)
	}
	for _, o := range s.TargetOptions {
		words = append(words, o.String())
	}
	return words
}

// Canonical returns Spec.Canonical of a rule as text, without "-A CHAIN ".
func Canonical(text string) string { return Rule{Text: text}.Spec().Canonical() }

// Canonical returns a text that is equal for two rules that say the same:
// iptables prints options in an order of its own, which differs between
// versions and flavours, adds -m NAME, and writes addresses with a mask.
func (s Spec) Canonical() string {
	words := []string{}
	for _, o := range s.Matches {
		if o.Name == "-m" {
			continue
		}
		switch o.Name {
		case "-s", "-d", "--ctorigdst", "--ctorigsrc", "--ctrepldst", "--ctreplsrc":
			net := canonicalNet(o.Value())
			if strings.HasSuffix(net, "/0") && !o.Not {
				continue // iptables does not print what matches everything
			}
			o.Values = []string{net}
		}
		words = append(words, o.String())
	}
	slices.Sort(words)
	return strings.Join(append(words, s.verdict()...), " ")
}

func canonicalNet(s string) string {
	if p, ok := Network(s); ok {
		return p.Masked().String()
	}
	return s
}

// Network reads a network, or a single address.
func Network(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil
}
