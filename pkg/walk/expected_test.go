// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/xt"
)

// What most packets have is an answer; what others have may well not exist.
func TestExpected(t *testing.T) {
	flags, kind, zone, drop := load(2, 13, 1), meta(metaPktType), ct(ctZone), ends1(nft.Drop, "")
	pkttype := func(typ, not byte) exprs {
		return exprs{xt.MatchExpr(xt.Info{Name: "pkttype", Data: []byte{typ, 0, 0, 0, not, 0, 0, 0}})}
	}
	udp := func(p *Packet) { p.Proto = hostport.UDP }
	later := func(p *Packet) { p.Later = true }
	output := func(p *Packet) { p.Hook = Output }
	for _, tt := range []struct {
		name  string
		rules []exprs
		is    func(p *Packet)
		want  string
	}{
		{"SYN", []exprs{and(flags, is(2), drop), redir()}, nil, "unknown redirect via pre; end yes drop via pre"},
		{"not SYN", []exprs{and(flags, isNot(2), drop), redir()}, nil, "yes redirect via pre; end unknown drop via pre"},
		{"asked twice", []exprs{and(flags, isNot(2), redir()), and(flags, isNot(2), redir()), drop}, nil, "unknown redirect via pre; unknown redirect via pre; end yes drop via pre"},
		{"there is none in UDP", []exprs{and(flags, is(2), drop), redir()}, udp, "yes redirect via pre; end some drop via pre"},
		{"later packets have others", []exprs{and(flags, is(2), drop), redir()}, later, "yes redirect via pre; end some drop via pre"},
		{"what is for this host", []exprs{and(kind, is(0), drop), redir()}, nil, "unknown redirect via pre; end yes drop via pre"},
		{"what is for all", []exprs{and(kind, is(1), drop), redir()}, nil, "yes redirect via pre; end unknown drop via pre"},
		{"the node's own have not come", []exprs{and(kind, is(1), drop), redir()}, output, "yes redirect via pre; end some drop via pre"},
		{"the match of xtables", []exprs{and(pkttype(0, 0), drop), redir()}, nil, "unknown redirect via pre; end yes drop via pre"},
		{"and its negation", []exprs{and(pkttype(0, 1), drop), redir()}, nil, "yes redirect via pre; end unknown drop via pre"},
		{"of others", []exprs{and(pkttype(2, 0), drop), redir()}, nil, "yes redirect via pre; end unknown drop via pre"},
		{"no zone", []exprs{and(zone, is(0, 0), drop), redir()}, nil, "unknown redirect via pre; end yes drop via pre"},
		{"as one of many", []exprs{and(zone, hton(2), test1(cmpLTE, be16(100)), drop), redir()}, nil, "unknown redirect via pre; end yes drop via pre"},
		{"a zone that no rule sets", []exprs{and(zone, is(native(7)[:2]...), drop), redir()}, nil, "yes redirect via pre; end unknown drop via pre"},
		{"that of later packets", []exprs{and(zone, is(0, 0), drop), redir()}, later, "yes redirect via pre; end some drop via pre"},
		{"of the node's own", []exprs{and(pkttype(2, 0), drop), redir()}, output, "yes redirect via pre; end some drop via pre"},
	} {
		p := packet4(Prerouting)
		if tt.is != nil {
			tt.is(&p)
		}
		src := &ruleset{family: nft.Inet, chains: map[string][]nft.Rule{"pre": rulesOf(tt.rules...)}}
		if d := cmp.Diff(tt.want, say(src.walk(t, p))); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
	}
}
