// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func data(v []byte) nft.Attrs { return nft.Attrs{}.With(1, v) }

// comment, jump, equals, load, dnat and count are expressions as the kernel has them.
func comment(s string) nft.Expr {
	text := append([]byte(s), make([]byte, 256-len(s))...)
	return nft.Expr{Name: "match", Attrs: nft.Attrs{}.With(1, []byte("comment\x00")).With(2, be32(0)).With(3, text)}
}

func jump(to string) nft.Expr {
	verdict := nft.Attrs{}.With(1, be32(0xfffffffd)).With(2, append([]byte(to), 0))
	return nft.Expr{Name: "immediate", Attrs: nft.Attrs{}.With(1, be32(0)).With(2, nft.Attrs{}.With(2, verdict))}
}

func value(reg uint32, v []byte) nft.Expr {
	return nft.Expr{Name: "immediate", Attrs: nft.Attrs{}.With(1, be32(reg)).With(2, data(v))}
}

func proto(p hostport.Proto) []nft.Expr {
	return []nft.Expr{{Name: "meta", Attrs: nft.Attrs{}.With(1, be32(1)).With(2, be32(16))}, equals([]byte{byte(p)})}
}

func load(base, off, size uint32) nft.Expr {
	return nft.Expr{Name: "payload", Attrs: nft.Attrs{}.With(1, be32(1)).With(2, be32(base)).With(3, be32(off)).With(4, be32(size))}
}

func equals(v []byte) nft.Expr {
	return nft.Expr{Name: "cmp", Attrs: nft.Attrs{}.With(1, be32(1)).With(2, be32(0)).With(3, data(v))}
}

func nat() nft.Expr {
	return nft.Expr{Name: "nat", Attrs: nft.Attrs{}.With(1, be32(1)).With(2, be32(2)).With(3, be32(1)).With(5, be32(2))}
}

// target is xt_DNAT of revision 2, struct nf_nat_range2.
func target(addr [4]byte, port uint16) nft.Expr {
	info := binary.NativeEndian.AppendUint32(nil, 3)
	info = append(info, addr[:]...)
	info = append(info, make([]byte, 12)...)
	info = append(info, addr[:]...)
	info = append(info, make([]byte, 12)...)
	info = append(info, append(be16(port), be16(port)...)...)
	info = append(info, make([]byte, 4)...)
	return nft.Expr{Name: "target", Attrs: nft.Attrs{}.With(1, []byte("DNAT\x00")).With(2, be32(2)).With(3, info)}
}

func count(n uint64) nft.Expr {
	return nft.Expr{Name: "counter", Attrs: nft.Attrs{}.With(1, make([]byte, 8)).With(2, binary.BigEndian.AppendUint64(nil, n))}
}

func rule(handle uint64, exprs ...nft.Expr) nft.Rule { return nft.Rule{Handle: handle, Exprs: exprs} }

func port(n uint16) []nft.Expr { return []nft.Expr{load(2, 2, 2), equals(be16(n))} }

func exprs(lists ...any) (out []nft.Expr) {
	for _, l := range lists {
		switch l := l.(type) {
		case nft.Expr:
			out = append(out, l)
		case []nft.Expr:
			out = append(out, l...)
		}
	}
	return out
}

// listed are rules of one table.
func listed(chains map[string][]nft.Rule) Lister {
	return func(_ nft.Table, chain string) ([]nft.Rule, error) {
		rules, ok := chains[chain]
		if !ok {
			return nil, fmt.Errorf("chain %s: %w", chain, fs.ErrNotExist)
		}
		return rules, nil
	}
}

func said(cs []Container) (out []string) {
	for _, c := range cs {
		s := fmt.Sprintf("%s has %d rules, chains %v", c.Owner.Short(), len(c.Rules), c.Chains)
		for _, m := range c.Claims {
			s += fmt.Sprintf(", %s -> %s (%d)", m.Mapping, m.Target, m.Packets)
			if !m.Foreign || m.Key != c.Key || m.Owner != c.Owner {
				s += " which is wrong"
			}
		}
		out = append(out, s)
	}
	return out
}

func TestIptables(t *testing.T) {
	whose := func(id string) string { return fmt.Sprintf(`dnat name: "net" id: "%s"`, id) }
	to := target([4]byte{10, 88, 0, 2}, 80)
	got, err := Iptables(hostport.IPv4, listed(map[string][]nft.Rule{
		Entry: {
			rule(1, exprs(proto(hostport.TCP), comment(whose("abc")), jump("CNI-DN-1"))...),
			rule(2, exprs(proto(hostport.UDP), comment(whose("abc")), jump("CNI-DN-1"))...),
			rule(3, comment("somebody else"), jump("CNI-DN-2")),
			rule(4, comment(whose("gone")), jump("CNI-DN-3")),
		},
		"CNI-DN-1": {
			rule(5, exprs(load(1, 12, 2), equals([]byte{10, 88}), proto(hostport.TCP), port(8080), jump("CNI-HOSTPORT-SETMARK"))...),
			rule(6, exprs(proto(hostport.TCP), port(8080), count(7), to)...),
			rule(7, exprs(load(1, 16, 4), equals([]byte{192, 0, 2, 1}), proto(hostport.TCP), port(8081), count(0), to)...),
			rule(8, exprs(proto(hostport.UDP), port(53), to)...),
		},
		"CNI-DN-2": {rule(9, exprs(proto(hostport.TCP), port(1), to)...)},
	}))
	want := []string{
		"container abc (network net) has 2 rules, chains [CNI-DN-1], 8080/tcp -> 10.88.0.2:80 (7), 192.0.2.1:8081/tcp -> 10.88.0.2:80 (0), 53/udp -> 10.88.0.2:80 (-1)",
		"container gone (network net) has 1 rules, chains [CNI-DN-3]",
	}
	if diff := cmp.Diff(want, said(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if got, err := Iptables(hostport.IPv4, listed(nil)); len(got) > 0 || err != nil {
		t.Errorf("without rules: %v, %v", got, err)
	}
	broken := errors.New("broken")
	if _, err := Iptables(hostport.IPv4, func(nft.Table, string) ([]nft.Rule, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("what cannot be read: %v", err)
	}
}

func TestNative(t *testing.T) {
	of := func(r nft.Rule, id string) nft.Rule {
		r.Comment = id
		return r
	}
	dnat := exprs(value(1, []byte{10, 88, 0, 2}), value(2, be16(80)), nat())
	got, err := Native(Tables()[0], listed(map[string][]nft.Rule{
		"hostports": {
			of(rule(1, exprs(proto(hostport.TCP), port(8080), dnat)...), "abc"),
			of(rule(2, exprs(load(1, 16, 4), equals([]byte{192, 0, 2, 1}), proto(hostport.UDP), port(53), dnat)...), "def"),
			rule(3, exprs(proto(hostport.TCP), port(9), dnat)...),
		},
		"masquerading": {of(rule(4, load(1, 12, 4), equals([]byte{10, 88, 0, 2}), nft.Expr{Name: "masq"}), "abc")},
	}))
	want := []string{
		"container abc has 2 rules, chains [], 8080/tcp -> 10.88.0.2:80 (-1)",
		"container def has 1 rules, chains [], 192.0.2.1:53/udp -> 10.88.0.2:80 (-1)",
	}
	if diff := cmp.Diff(want, said(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestOwner(t *testing.T) {
	for in, want := range map[string]string{
		`dnat name: "net" id: "abc"`:                      "container abc (network net)",
		`dnat name: "net" id: "` + strings.Repeat("a", 9): "container aaaaaaaaa (network net)", // cut
		`dnat name: "a b" id: ""`:                         "container  (network a b)",
		"somebody else":                                   "",
		`name: "net"`:                                     "",
		`name: "a" b" id: "c"`:                            "",
	} {
		o, ok := Owner(in)
		if got := o.Short(); ok != (want != "") || ok && got != want {
			t.Errorf("%q is %q, %v, want %q", in, got, ok, want)
		}
	}
}

func TestKeys(t *testing.T) {
	o := hostport.Owner{Network: "net", ContainerID: "abc", IfName: "eth0"}
	keys := Keys(o)
	if len(keys) != 2 || keys[0] != Key(hostport.Owner{Network: "net", ContainerID: "abc"}) || keys[1] != Key(hostport.Owner{ContainerID: "abc"}) {
		t.Errorf("keys are %q", keys)
	}
	if keys[0] == keys[1] || keys[0] == o.Key() || len(keys[0]) != len(o.Key()) {
		t.Errorf("keys are %q, of the attachment %q", keys, o.Key())
	}
}
