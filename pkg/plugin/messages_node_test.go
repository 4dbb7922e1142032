// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/listener"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/tool"
)

func web() hostport.Attachment {
	return hostport.Attachment{Owner: hostport.Owner{Network: "net", ContainerID: "0123456789abcdef", IfName: "eth0", PodNamespace: "default", PodName: "web"},
		Pods:     []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")},
		Mappings: []hostport.Mapping{{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 80, ContainerPort: 8080}}}
}

func (s *script) directories() {
	s.Section("the directory of records and its lock")
	below := state.Open(s.write("file", "") + "/x")
	_, err := below.Lock(time.Second)
	s.err(err, CodeUnreadable)
	noLock := filepath.Join(s.dir, "no-lock")
	if err := os.MkdirAll(noLock+"/lock", 0o700); err != nil {
		s.t.Fatal(err)
	}
	_, err = state.Open(noLock).Lock(time.Second)
	s.err(err, CodeUnreadable)
	st := state.Open(filepath.Join(s.dir, "state"))
	unlock, err := st.Lock(time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = st.Lock(10 * time.Millisecond)
	s.err(err, CodeUnreadable)
	unlock()
	for _, err := range []error{below.MarkUsed(), below.Save(state.Record{}), below.Count(state.Counters{}), below.CouldWrite()} {
		s.err(err, types.ErrIOFailure)
	}
	for _, text := range []string{"{", `{"version":2}`} {
		s.write("state/K.json", text)
		_, err = st.Load("K")
		s.warn(err.Error())
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "state/D.json/x"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	_, err = st.Load("D")
	s.warn(err.Error())
	s.starve(func() { err = st.Delete("D") })
	s.warn(told(err, CodeApply))
	s.warned()
}

func (s *script) backends() {
	s.Section("a backend that this node cannot serve")
	old := nftconn.ErrNoKernel
	ipvs, plain := &host.Addressing{IPVS: true}, &host.Addressing{}
	s.t.Setenv("PATH", s.dir)
	for _, c := range []struct {
		backend, syntax string
		on              *host.Addressing
		kernel          error
	}{
		{netconf.NFTables, "", ipvs, nil},
		{netconf.NFTables, "", plain, old},
		{netconf.Auto, netconf.NFTables, ipvs, nil},
		{netconf.Auto, netconf.NFTables, plain, old},
		{netconf.Auto, netconf.NFTables, plain, nil},
		{netconf.NFTables, "", plain, fmt.Errorf("could not read the nftables tables: %w", unix.EBUSY)},
	} {
		_, _, err := chooseFor(&netconf.Config{Backend: c.backend, Syntax: c.syntax}, c.on, c.kernel)
		s.err(err, CodeUnreadable)
	}
	s.err(change{view: &view{table: nfttable.Absent()}}.lacking(unix.ENOENT), CodeApply)
	s.warn(insteadOf(change{view: &view{table: nfttable.Absent()}}.lacking(unix.ENOENT)))
	a := web()
	a.ConditionsV4 = []string{"ip saddr 10.0.0.0/8"}
	st := state.Open(filepath.Join(s.dir, "ipvs"))
	unlock, err := st.Lock(time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	defer unlock()
	d := &decision{target: target{backend: netconf.IPTables}, ipvs: true}
	c := change{view: &view{}, table: nfttable.Absent().Put(a, false)}
	s.leaveNftables(&c, d, st)
	if err := st.Save(state.Record{Attachment: a}); err != nil {
		s.t.Fatal(err)
	}
	s.leaveNftables(&c, d, st)
	s.t.Setenv("PORTGUARD_DEBUG", "1")
	s.debug("backend %s: %s", netconf.NFTables, "the configuration names it")
	s.warned()
}

func (s *script) localhosts() {
	s.Section("localhost without a link to the pod")
	for _, hostIP := range []string{"", "127.0.0.1"} {
		// The route to an address of the node leads over no link.
		r, err := s.request(strings.Replace(confHead+portOf(`,"hostIP":"`+hostIP+`"`)+confPrev+"}", "192.0.2.9/24", "127.0.0.9/8", 1))
		if err != nil {
			s.t.Fatal(err)
		}
		if err := settleLocalhost(r); err != nil {
			s.err(err, CodeUnreadable)
			continue
		}
		s.remarks(r.Config, r, nil)
	}
}

func (s *script) starved() {
	s.Section("a node without file descriptors: what is read and written, and by whom")
	pod := netip.MustParseAddr("192.0.2.9")
	m := web().Mappings
	t := &iptables.Tools{Proc: "/proc"}
	inet := nft.Table{Family: nft.Inet, Name: "portguard"}
	set := nft.Set{Table: inet, Name: "ports4"}
	s.write("nft", "#!/bin/sh\n")
	errs := map[string]error{}
	order := []string{}
	note := func(name string, err error) { errs[name], order = err, append(order, name) }
	s.starve(func() {
		_, err := host.Addresses()
		note("addresses", err)
		_, err = host.LinkTo(pod)
		note("link", err)
		_, err = host.Bridges()
		note("bridges", err)
		udp := m[0]
		udp.Proto = hostport.UDP
		note("conntrack", host.DropUDP(hostport.IPv4, []host.Stale{{Mapping: udp, Pod: pod, Dst: addrset.All(true)}}))
		_, err = host.HasSet("KUBE-IPVS-IPS")
		note("ipset", err)
		_, err = host.Sets{}.SetHas("KUBE-IPVS-IPS", "hash:ip", pod, hostport.TCP, 80)
		note("ipset member", err)
		_, err = host.RouteLocalnet("veth1")
		note("route_localnet", err)
		note("set route_localnet", host.SetRouteLocalnet("veth1", true))
		_, _, err = host.EphemeralPorts()
		note("range", err)
		_, err = host.ReservedPorts()
		note("reserved", err)
		_, err = host.Forwarding(hostport.IPv4)
		note("forwarding", err)
		_, err = listener.New().Read(m)
		note("sockets", err)
		_, err = listener.ConnectedUDP(53)
		note("connected", err)
		_, err = tool.Run("/bin/true", "", time.Second)
		note("tool", err)
		note("nft", nftconn.RunScript("x"))
		_, err = t.Present(iptables.NFT, hostport.IPv4)
		note("iptables-nft", err)
		_, err = t.Present(iptables.Legacy, hostport.IPv4)
		note("iptables-legacy", err)
		note("undo", change{view: &view{table: nfttable.Absent()}, table: nfttable.Absent()}.undoTable())
		r := nftconn.NewReader()
		note("supported", nftconn.Supported())
		_, err = r.BaseChains()
		note("chains", err)
		_, err = r.AllRules(inet)
		note("rules", err)
		_, err = r.Rules(inet, "hostports4")
		note("chain", err)
		_, err = r.Set(inet, "ports4")
		note("set", err)
		_, _, err = r.Lookup(set, []byte{1})
		note("lookup", err)
		_, err = r.AllElements(set)
		note("elements", err)
		_, err = nftconn.NewReader().Generation()
		note("generation", err)
		b := &nft.Batch{}
		b.CreateElement(inet, "ports4", nft.Element{Text: "tcp . 80"})
		note("batch", nftconn.Apply(b))
	})
	for _, name := range order {
		s.err(errs[name], CodeUnreadable)
	}
	now := &scout{reader: nftconn.NewReader()}
	now.generation, _ = now.reader.Generation()
	d := &finder{view: &view{scout: now}}
	s.err(d.steady(nil, func() error { return errs["chains"] }), CodeUnreadable)
	s.warn(told(errs["conntrack"], CodeApply))
	s.warned()
}
