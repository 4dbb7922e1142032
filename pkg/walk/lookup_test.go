// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/nft"
)

// srcPort is a key of a source and the port.
func srcPort() exprs { return and(to(8, load(1, 12, 4)), to(9, dport())) }

func from8(e exprs) exprs { return with(e, 2, be32(8)) }

func TestNativeLookup(t *testing.T) {
	pad := func(addr string, port byte) []byte { return append(ip(addr), 0, port, 0, 0) }
	saddr, daddr := load(1, 12, 4), load(1, 16, 4)
	all := nft.Element{Flags: catchAllFlag}
	sets := map[string]fakeSet{
		"ports":   {fields: []int{2}, elems: keys(be16(80), be16(443))},
		"others":  {fields: []int{2}, elems: keys(be16(443))},
		"ranges":  {fields: []int{2}, flags: nft.SetInterval, elems: append(keys(be16(70)), end(be16(81)), end(be16(0)))},
		"ended":   {fields: []int{2}, flags: nft.SetInterval, elems: append(keys(be16(70), be16(90)), end(be16(80)), end(be16(99)))},
		"up":      {fields: []int{2}, flags: nft.SetInterval, elems: keys(be16(80))},
		"rest":    {fields: []int{2}, elems: append(keys(be16(443)), all)},
		"none":    {fields: []int{4}},
		"nodes":   {fields: []int{4}, elems: keys(ip("192.0.2.1"))},
		"clients": {fields: []int{4}, elems: keys(ip("10.0.0.1"), ip("10.0.0.2"))},
		"nets":    {fields: []int{4}, flags: nft.SetInterval | nft.SetAnonymous, elems: append(keys(ip("10.0.0.0")), end(ip("11.0.0.0")))},
		"halves":  {fields: []int{4}, flags: nft.SetInterval | nft.SetAnonymous, elems: append(keys(ip("0.0.0.0"), ip("64.0.0.0"), ip("128.0.0.0")), end(ip("63.0.0.0")))},
		"anybody": {fields: []int{4}, elems: append(keys(ip("10.0.0.1")), all)},
		"long":    {fields: []int{4}, long: true},
		"pairs":   {fields: []int{4, 2}, flags: nft.SetAnonymous, elems: keys(pad("10.0.0.1", 80), pad("10.0.0.2", 81))},
		"pairs81": {fields: []int{4, 2}, flags: nft.SetAnonymous, elems: keys(pad("10.0.0.1", 81))},
		"boxes":   {fields: []int{4, 2}, flags: nft.SetInterval, elems: []nft.Element{{Key: pad("10.0.0.0", 70), KeyEnd: pad("10.0.0.9", 90)}}},
		"limited": {fields: []int{2}, elems: []nft.Element{{Key: be16(80), Stateful: true}}},
		"growing": {fields: []int{4}, flags: nft.SetDynamic, elems: keys(ip("10.0.0.1"))},
		"visited": {fields: []int{2}, flags: nft.SetDynamic, elems: keys(be16(80))},
		"marks":   {fields: []int{4}, elems: keys(native(1))},
		"ifaces":  {fields: []int{16, 2}, elems: keys(append(name16("eth0"), 0, 80, 0, 0))},
		"ifaces1": {fields: []int{16, 2}, elems: keys(append(name16("eth0"), 0, 81, 0, 0))},
	}
	source := func(e exprs, a string) exprs { return and(e, load(1, 12, 4), is(ip(a)...)) }
	checkMatches(t, packet4, sets, []matchCase{
		{"a set with the port", and(dport(), lookIn("ports", 0)), Yes, Yes},
		{"a set without the port", and(dport(), lookIn("others", 0)), No, No},
		{"not a set with the port", and(dport(), lookIn("ports", 1)), No, No},
		{"not a set without the port", and(dport(), lookIn("others", 1)), Yes, Yes},
		{"a set of ranges with the port", and(dport(), lookIn("ranges", 0)), Yes, Yes},
		{"a range that ends before the port", and(dport(), lookIn("ended", 0)), No, No},
		{"a range without an end", and(dport(), lookIn("up", 0)), Yes, Yes},
		{"a catch-all", and(dport(), lookIn("rest", 0)), Yes, Yes},
		{"an element with a limit", and(dport(), lookIn("limited", 0)), Some, Some},

		{"a set with the destination", and(daddr, lookIn("nodes", 0)), Yes, Yes},
		{"not a set with the destination", and(daddr, lookIn("nodes", 1)), No, No},
		{"a set of masked destinations", and(daddr, masked(ip("255.255.255.0"), ip("0.0.0.1")), lookIn("nodes", 0)), Yes, Yes},

		{"a set of sources", and(saddr, lookIn("clients", 0)), Some, Some},
		{"a set of sources and one of them", source(and(saddr, lookIn("clients", 0)), "10.0.0.2"), Some, Some},
		{"a set of sources and another", source(and(saddr, lookIn("clients", 0)), "10.0.0.3"), No, No},
		{"not a set of sources and one of them", source(and(saddr, lookIn("clients", 1)), "10.0.0.2"), No, No},
		{"an empty set of sources", and(saddr, lookIn("none", 0)), No, No},
		{"not an empty set of sources", and(saddr, lookIn("none", 1)), Yes, Yes},
		{"a network of sources and its last", source(and(saddr, lookIn("nets", 0)), "10.255.255.255"), Some, Some},
		{"a network of sources and the one behind it", source(and(saddr, lookIn("nets", 0)), "11.0.0.0"), No, No},
		{"networks without an end", source(and(saddr, lookIn("halves", 0)), "223.255.255.255"), Some, Some},
		{"networks side by side", source(and(saddr, lookIn("halves", 0)), "127.255.255.255"), Some, Some},
		{"networks with a gap", source(and(saddr, lookIn("halves", 0)), "63.0.0.0"), No, No},
		{"a set of sources with a catch-all", source(and(saddr, lookIn("anybody", 0)), "10.0.0.9"), Some, Some},
		{"a long set of sources", and(saddr, lookIn("long", 0)), Some, Some},
		{"a set that rules add sources to", and(saddr, lookIn("growing", 0)), Some, Some},
		{"a source that is none of them now", source(and(saddr, lookIn("growing", 0)), "10.0.0.3"), Some, Some},
		{"a source that is one of them now", source(and(saddr, lookIn("growing", 1)), "10.0.0.1"), Some, Some},
		{"a set that rules add ports to", and(dport(), lookIn("visited", 0)), Some, Some},
		{"a set of marks from elsewhere", and(meta(metaMark), lookIn("marks", 0)), Unknown, Unknown},
		{"a set of marks with the one that was set", and(setMark(1), meta(metaMark), lookIn("marks", 0)), Yes, Yes},

		{"pairs with the port", and(srcPort(), from8(lookIn("pairs", 0))), Some, Some},
		{"pairs with the port and their source", source(and(srcPort(), from8(lookIn("pairs", 0))), "10.0.0.1"), Some, Some},
		{"pairs with the port and another's source", source(and(srcPort(), from8(lookIn("pairs", 0))), "10.0.0.2"), No, No},
		{"pairs with another port", and(srcPort(), from8(lookIn("pairs81", 0))), No, No},
		{"not pairs with another port", and(srcPort(), from8(lookIn("pairs81", 1))), Yes, Yes},
		{"ranges of both", source(and(srcPort(), from8(lookIn("boxes", 0))), "10.0.0.9"), Some, Some},
		{"ranges of both and a source beside them", source(and(srcPort(), from8(lookIn("boxes", 0))), "10.0.0.10"), No, No},
		{"an interface and the port", and(to(8, meta(metaIifName)), to(12, dport()), from8(lookIn("ifaces", 0))), Some, No},
		{"an interface and another port", and(to(8, meta(metaIifName)), to(12, dport()), from8(lookIn("ifaces1", 0))), No, No},
	})
}

// A map gives a value to a register, a verdict map ends the rule.
func TestNativeMaps(t *testing.T) {
	to9 := nft.Element{Key: be16(80), Data: ip("10.0.0.9"), Verdict: nft.Verdict{Code: nft.Continue}, Comment: "from the map"}
	vmap := func(code int32, chain string) fakeSet {
		return fakeSet{fields: []int{2}, flags: nft.SetMap, verdicts: true, elems: []nft.Element{leads(be16(80), code, chain), leads(be16(81), nft.Drop, "")}}
	}
	clients := []nft.Element{leads(ip("10.0.0.1"), nft.Jump, "x"), leads(ip("10.0.0.2"), nft.Accept, "")}
	sets := map[string]fakeSet{
		"found":  {fields: []int{2}, flags: nft.SetMap, elems: []nft.Element{to9}},
		"gone":   {fields: []int{2}, flags: nft.SetMap, elems: []nft.Element{{Key: be16(81), Data: ip("10.0.0.9")}}},
		"accept": vmap(nft.Accept, ""), "drop": vmap(nft.Drop, ""), "return": vmap(nft.Return, ""), "continue": vmap(nft.Continue, ""),
		"break": vmap(nft.Break, ""), "jump": vmap(nft.Jump, "x"), "goto": vmap(nft.Goto, "x"), "frob": vmap(77, ""),
		"brief":   {fields: []int{2}, flags: nft.SetMap, elems: []nft.Element{{Key: be16(80), Data: ip("10.0.0.9"), Expires: true}}},
		"ports":   {fields: []int{2}, elems: []nft.Element{{Key: be16(80), Expires: true}}},
		"guests":  {fields: []int{4}, flags: nft.SetInterval, elems: []nft.Element{{Key: ip("0.0.0.0"), Expires: true}}},
		"nothing": {fields: []int{2}, flags: nft.SetMap, verdicts: true},
		"rest":    {fields: []int{2}, flags: nft.SetMap, verdicts: true, elems: []nft.Element{{Flags: catchAllFlag, Verdict: nft.Verdict{Code: nft.Jump, Chain: "x"}}}},
		"clients": {fields: []int{4}, flags: nft.SetMap, verdicts: true, elems: clients},
		"others":  {fields: []int{4}, flags: nft.SetMap, verdicts: true, elems: append(slices.Clone(clients[:1]), nft.Element{Flags: catchAllFlag, Verdict: nft.Verdict{Code: nft.Drop}})},
		"long":    {fields: []int{4}, flags: nft.SetMap, verdicts: true, long: true},
		"values":  {fields: []int{4}, flags: nft.SetMap, elems: []nft.Element{{Key: ip("10.0.0.1"), Data: ip("10.0.0.9")}}},
	}
	byPort := func(set string) exprs { return and(dport(), lookMap(set, 0)) }
	bySource := func(set string) exprs { return and(load(1, 12, 4), lookMap(set, 0)) }
	for _, tt := range []struct {
		name string
		rule exprs
		want string
	}{
		{"a value that is found", and(dport(), lookMap("found", 1), dnat4()), "yes dnat via pre"},
		{"a value that is not found", and(dport(), lookMap("gone", 1), dnat4()), "yes redirect via pre"},
		{"a value by source", and(load(1, 12, 4), lookMap("values", 1), dnat4()), "some dnat via pre; yes redirect via pre"},
		{"accept", byPort("accept"), "end yes accept via pre"},
		{"drop", byPort("drop"), "end yes drop via pre"},
		{"return", byPort("return"), ""},
		{"continue, with the rest of the rule", and(byPort("continue"), ends1(nft.Drop, "")), "end yes drop via pre"},
		{"break, without it", and(byPort("break"), ends1(nft.Drop, "")), "yes redirect via pre"},
		{"jump", byPort("jump"), "some tproxy via pre > x; yes redirect via pre"},
		{"goto", byPort("goto"), "some tproxy via pre > x"},
		{"a verdict nobody knows", byPort("frob"), "unknown verdict 77 via pre; yes redirect via pre"},
		{"an empty map", byPort("nothing"), "yes redirect via pre"},
		{"a catch-all", byPort("rest"), "some tproxy via pre > x; yes redirect via pre"},
		{"verdicts by source", bySource("clients"), "some tproxy via pre > x; yes redirect via pre; end some accept via pre"},
		{"verdicts by source with a catch-all", bySource("others"), "some tproxy via pre > x; yes redirect via pre; end some drop via pre"},
		{"a value that goes by itself", and(dport(), lookMap("brief", 1), dnat4()), "some dnat via pre; yes redirect via pre"},
		{"a port that goes by itself", and(dport(), lookIn("ports", 0), ends1(nft.Accept, "")), "yes redirect via pre; end some accept via pre"},
		{"not one of those", and(dport(), lookIn("ports", 1), ends1(nft.Accept, "")), "yes redirect via pre; end some accept via pre"},
		{"a source that goes by itself", and(load(1, 12, 4), lookIn("guests", 1), ends1(nft.Accept, "")), "yes redirect via pre; end some accept via pre"},
		{"a long map", bySource("long"), "unknown vmap @long via pre; yes redirect via pre"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := &ruleset{family: nft.Inet, sets: sets, chains: map[string][]nft.Rule{
				"pre": rulesOf(tt.rule, ex("redir", nil)), "x": rulesOf(and(dport(), is(0, 81), ends1(nft.Drop, "")), and(load(2, 0, 2), is(0, 1), ex("tproxy", nil)))}}
			// Who leaves x at its end comes back, unless by goto.
			if diff := cmp.Diff(tt.want, say(src.walk(t, packet4(Prerouting)))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	src := &ruleset{family: nft.IPv4, sets: sets, chains: map[string][]nft.Rule{"pre": rulesOf(and(dport(), lookMap("found", 1), dnat4()))}}
	hop := src.walk(t, packet4(Prerouting)).NAT[0].Last()
	want := Hop{Table: nft.Table{Family: nft.IPv4, Name: "t"}, Chain: "pre", Handle: 1, Comment: "from the map", Target: "dnat", To: "10.0.0.9",
		Match: Yes, NamesPort: true, Sets: []string{"found"}}
	if diff := cmp.Diff(want, hop, cmpopts.IgnoreUnexported(Hop{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if text := "[ payload load 2b @ transport header + 2 ] [ lookup @found ] [ nat ]"; hop.Text() != text {
		t.Errorf("the rule is called %q, not %q", hop.Text(), text)
	}
}

// Of few destinations each is looked up, of many the set is listed. One that is too long for that is
// asked for some hundreds of destinations; of more it is open, and not free.
func TestNativeLookupOfManyDestinations(t *testing.T) {
	other, port := ip("192.0.2.9"), []byte{0, 80, 0, 0}
	sets := map[string]fakeSet{
		"nodes": {fields: []int{4}, elems: keys(ip("10.9.0.7"), other)},
		"long":  {fields: []int{4}, elems: keys(ip("10.9.0.7"), other), long: true},
		"vnode": {fields: []int{4}, flags: nft.SetMap, verdicts: true, elems: []nft.Element{leads(ip("10.9.0.7"), nft.Jump, "x"), leads(other, nft.Jump, "y")}},
		"pairs": {fields: []int{4, 2}, elems: keys(append(ip("10.9.0.7"), port...), append(ip("10.9.0.6"), 0, 81, 0, 0), append(other, port...))},
		"flows": {fields: []int{4, 4}, elems: keys(append(ip("10.9.0.7"), ip("10.0.0.1")...), append(other, ip("10.0.0.2")...))},
		"nets":  {fields: []int{4, 2}, flags: nft.SetInterval, elems: []nft.Element{{Key: append(ip("10.9.0.6"), port...), KeyEnd: append(ip("10.9.0.7"), port...)}, {Key: append(ip("192.0.2.0"), port...), KeyEnd: append(ip("192.0.2.255"), port...)}}},
		"bytes": {fields: []int{1}, elems: keys([]byte{7})},
	}
	concat := func(set string, more exprs) exprs {
		return and(to(8, load(1, 16, 4)), to(9, more), with(lookIn(set, 0), 2, be32(8)), ex("redir", nil))
	}
	const all, all7 = "some redirect via pre: 10.9.0.0-10.9.255.255", "some redirect via pre: 10.9.0.7"
	for name, tt := range map[string]struct {
		rule            exprs
		few, some, many string
	}{
		"a set":               {and(load(1, 16, 4), lookIn("nodes", 0), ex("redir", nil)), all7, all7, all7},
		"not a set":           {and(load(1, 16, 4), lookIn("nodes", 1), ex("redir", nil)), "some redirect via pre: 10.9.0.4-10.9.0.6", "some redirect via pre: 10.9.0.0-10.9.0.6,10.9.0.8-10.9.0.255", "some redirect via pre: 10.9.0.0-10.9.0.6,10.9.0.8-10.9.255.255"},
		"a long set":          {and(load(1, 16, 4), lookIn("long", 0), ex("redir", nil)), all7, all7, all},
		"a verdict map":       {and(load(1, 16, 4), lookMap("vnode", 0)), "some redirect via pre > x: 10.9.0.7", "some redirect via pre > x: 10.9.0.7", "some redirect via pre > x: 10.9.0.7"},
		"a set of pairs":      {concat("pairs", load(2, 2, 2)), all7, all7, all7},
		"one with sources":    {concat("flows", load(1, 12, 4)), all7, all7, all7},
		"a set of nets":       {concat("nets", load(2, 2, 2)), "some redirect via pre: 10.9.0.6-10.9.0.7", "some redirect via pre: 10.9.0.6-10.9.0.7", "some redirect via pre: 10.9.0.6-10.9.0.7"},
		"one of single bytes": {and(load(1, 19, 1), lookIn("bytes", 0), ex("redir", nil)), all7, all7, all},
	} {
		t.Run(name, func(t *testing.T) {
			for prefix, want := range map[string]string{"10.9.0.4/30": tt.few, "10.9.0.0/24": tt.some, "10.9.0.0/16": tt.many} {
				src := &ruleset{family: nft.IPv4, sets: sets, chains: map[string][]nft.Rule{"pre": rulesOf(tt.rule), "x": rulesOf(ex("redir", nil)), "y": rulesOf(ex("redir", nil))}}
				p := packet4(Prerouting)
				p.Dst = addrset.Of(netip.MustParsePrefix(prefix))
				r := src.walk(t, p)
				if len(r.NAT) != 1 || say(r)+": "+joined(r.NAT[0].Dst) != want {
					t.Errorf("%s: got %s %+v, want %s", prefix, say(r), r.NAT, want)
				}
			}
		})
	}
}

// joined writes spans that touch as one.
func joined(s addrset.Set) string {
	var out addrset.Set
	for _, sp := range s {
		if n := len(out); n > 0 && out[n-1].Hi.Next() == sp.Lo {
			out[n-1].Hi = sp.Hi
			continue
		}
		out = append(out, sp)
	}
	return out.String()
}

func TestNativeErrorsAreTold(t *testing.T) {
	for name, src := range map[string]*ruleset{
		"no such chain":           {},
		"no such chain to jump":   {chains: map[string][]nft.Rule{"pre": rulesOf(ends1(nft.Jump, "gone"))}},
		"no such set":             {chains: map[string][]nft.Rule{"pre": rulesOf(and(dport(), lookIn("gone", 0)))}},
		"no such set after other": {chains: map[string][]nft.Rule{"pre": rulesOf(and(dport(), is(0, 80), lookIn("gone", 0), ends1(nft.Drop, "")))}},
	} {
		if _, err := New(src, nft.Table{Family: nft.Inet, Name: "t"}, 4, Options{}).Walk("pre", packet4(Prerouting)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	for name, e := range map[string]exprs{
		"cmp": with(is(1), 3, []byte{1}), "range": with(within(0, nil, nil), 4, []byte{1}), "bitwise": with(masked(nil, nil), 5, []byte{1}),
		"immediate": with(ends1(0, ""), 2, []byte{1}), "verdict": with(ends1(0, ""), 2, attr(2, []byte{1})),
	} {
		src := &ruleset{chains: map[string][]nft.Rule{"pre": rulesOf(and(e, ends1(nft.Drop, "")))}}
		if _, err := New(src, nft.Table{Family: nft.Inet, Name: "t"}, 4, Options{}).Walk("pre", packet4(Prerouting)); err == nil {
			t.Errorf("%s with cut attributes is no error", name)
		}
	}
}
