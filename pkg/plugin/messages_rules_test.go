// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
	"github.com/portguard/portguard/pkg/ruleset"
	"github.com/portguard/portguard/pkg/state"
)

const emptyNAT = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"

// legacyNode has iptables-legacy with a table nat, and programs of that name which
// print and end as told.
func (s *script) legacyNode(name, prints string, ends string) *iptables.Tools {
	s.t.Helper()
	bin := filepath.Join(s.dir, "bin")
	if err := os.RemoveAll(bin); err != nil {
		s.t.Fatal(err)
	}
	s.t.Setenv("PATH", bin)
	s.write("proc/thread-self/net/ip_tables_names", "nat\n")
	for _, n := range []string{"iptables-legacy-save", "iptables-legacy-restore"} {
		s.write("bin/"+n, "#!/bin/sh\nwhile read -r line; do :; done\necho '"+emptyNAT+"'\n")
	}
	s.write("bin/"+name, "#!/bin/sh\nwhile read -r line; do :; done\necho '"+prints+"'\n"+ends+"\n")
	return &iptables.Tools{Proc: filepath.Join(s.dir, "proc"), Wait: time.Second}
}

func (s *script) toolsFail() {
	s.Section("the iptables tools: missing, failing, or printing what cannot be read")
	s.t.Setenv("PATH", s.dir+"/none")
	_, err := (&iptables.Tools{}).Default()
	s.err(err, CodeUnreadable)
	s.err((&iptables.Tools{}).Installed(iptables.NFT, hostport.IPv6), CodeUnreadable)
	s.err(nftconn.RunScript("x"), CodeApply)
	for _, tt := range []struct{ prints, ends string }{
		{"", "exit 1"},
		{"", "echo 'iptables-legacy-save: Permission denied (you must be root)' >&2; exit 1"},
		{"", "echo 'Another app is currently holding the xtables lock' >&2; exit 4"},
		{"", "kill -9 $$"},
		{"# nothing", ""},
		{"-A X -j ACCEPT", ""}, {"*nat\n:X", ""}, {"*nat\n-A X -j ACCEPT", ""}, {"*nat\n:X - [0:0]\n-A X --comment \"abc", ""}, {"*nat\nhello", ""}, {"*nat", ""},
	} {
		t := s.legacyNode("iptables-legacy-save", tt.prints, tt.ends)
		_, err := t.Save(iptables.Legacy, hostport.IPv4)
		s.err(err, CodeUnreadable)
	}
	t := s.legacyNode("iptables-nft-restore", "-A X -j ACCEPT", "")
	_, err = t.StartChains(hostport.IPv4, map[string][]string{"nat": {"PREROUTING"}})()
	s.err(err, CodeUnreadable)
	t = s.legacyNode("iptables-nft-restore", "", "")
	_, err = t.StartChains(hostport.IPv4, map[string][]string{"nat": {"PREROUTING"}})()
	s.err(err, CodeUnreadable)
	s.write("bin/nft", "#!/bin/sh\necho 'Error: syntax error, unexpected string' >&2\nexit 1\n")
	s.err(nftconn.RunScript("x"), CodeApply)
}

// viewOf is what was read of some places, as text.
func (s *script) viewOf(texts map[place]string) *view {
	s.t.Helper()
	v := &view{scout: &scout{}, table: nfttable.Absent(), part: map[place]bool{}, dumps: map[place]*iptsave.Dump{}, layouts: map[place]*ruleset.Layout{}}
	for at, text := range texts {
		d, err := iptsave.Parse(text)
		if err != nil {
			s.t.Fatal(err)
		}
		v.places, v.dumps[at], v.layouts[at] = append(v.places, at), d, ruleset.FromDump(d, at.family)
	}
	return v
}

func (s *script) rulesUnread() {
	s.Section("rules that leave no place for ours, or cannot be read")
	const kube = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n"
	v4, l4 := place{iptables.NFT, hostport.IPv4}, place{iptables.Legacy, hostport.IPv4}
	_, err := s.viewOf(map[place]string{v4: kube, l4: kube}).target(nil)
	s.err(err, CodeUnreadable)
	native := s.viewOf(map[place]string{v4: "# Table `nat' is incompatible, use 'nft' tool.\n"})
	s.err(native.readable(iptables.NFT, false), CodeUnreadable)
	s.err(native.assume(nil), CodeApply)
	s.err(errChanging, CodeUnreadable)
}

func (s *script) changesFail() {
	s.Section("changes that fail: the rules are as they were, or DEL removes the rest")
	at := place{iptables.Legacy, hostport.IPv4}
	st := state.Open(filepath.Join(s.dir, "commit"))
	unlock, err := st.Lock(time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	defer unlock()
	a := web()
	with := a
	with.ConditionsV4 = []string{"-m", "frob", "--level", "3"}
	d := &decision{target: target{netconf.IPTables, iptables.Legacy}, node: map[hostport.Family]ruleset.Node{}}
	for _, a := range []hostport.Attachment{a, with} {
		t := s.legacyNode("iptables-legacy-restore", "", "echo 'iptables-restore: line 7 failed' >&2; exit 2")
		s.err(s.commit(state.Record{Attachment: a}, nil, st, s.viewOf(map[place]string{at: emptyNAT}), d, t), CodeApply)
	}
	t := s.legacyNode("iptables-legacy-save", "*nat", "")
	c := change{view: s.viewOf(map[place]string{at: emptyNAT}), table: nfttable.Absent()}
	s.err(c.undo(t, c.view.places), CodeApply)
}

func (s *script) checks() {
	s.Section("CHECK; what else it can find lost is in the files of ruleset and nfttable")
	at := place{iptables.Legacy, hostport.IPv4}
	r, err := s.request(confHead + portOf("") + confPrev + "}")
	if err != nil {
		s.t.Fatal(err)
	}
	a := web()
	a.Mappings[0].HostPort, a.Pods, a.Localhost, a.Link = 81, []netip.Prefix{netip.MustParsePrefix("192.0.2.8/24")}, true, "no-such-link"
	t := s.legacyNode("iptables-legacy-save", emptyNAT, "")
	rec := &state.Record{Attachment: a, Backend: netconf.IPTables, Flavour: string(iptables.Legacy)}
	lost, err := s.viewOf(map[place]string{at: emptyNAT}).check(r, rec, t)
	if err != nil || len(lost) < 5 {
		s.t.Fatal(err, lost)
	}
	for _, l := range lost {
		if strings.Contains(l, "PGD-") || strings.Contains(l, "PGM-") {
			continue // the same as the others
		}
		s.err(notAsInstalled(a.Owner, []string{l}), CodeNotAsInstalled)
	}
	err = notAsInstalled(a.Owner, []string{"one", "another"})
	s.Messages.Add("110", err.Error())
}
