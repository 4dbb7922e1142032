// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"flag"
	"net/netip"
	"testing"
	"time"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/listener"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/rules"
	"github.com/portguard/portguard/pkg/way"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// What is read and written says so when it fails, and by whom. The plugin adds what to
// do.
func TestMessages(t *testing.T) {
	m := golden.New(t)
	m.Section("a node without file descriptors")
	pod := netip.MustParseAddr("192.0.2.9")
	tcp := hostport.Mapping{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 80, ContainerPort: 8080}
	udp := tcp
	udp.Proto = hostport.UDP
	inet := nft.Table{Family: nft.Inet, Name: "portguard"}
	nat := nft.Table{Family: nft.IPv4, Name: "nat"}
	set := nft.Set{Table: inet, Name: "ports4"}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	golden.Starve(t, func() {
		_, err := host.Addresses(nil)
		note(err)
		_, err = host.LinkTo(pod)
		note(err)
		_, _, err = host.Links{}.All()
		note(err)
		_, err = host.Entries(&host.Addressing{}, nil)
		note(err)
		_, err = host.NewRouter().Route(way.Route{Src: pod, Dst: pod})
		note(err)
		_, err = host.Links{}.Index("veth1")
		note(err)
		note(host.DropUDP(hostport.IPv4, []host.Stale{{Mapping: udp, Pod: pod, Dst: addrset.All(true)}}))
		_, err = host.Sets{}.SetType("KUBE-IPVS-IPS")
		note(err)
		_, err = host.Sets{}.SetName(1)
		note(err)
		_, err = host.Sets{}.SetHas("KUBE-IPVS-IPS", "hash:ip", pod, hostport.TCP, 80)
		note(err)
		_, _, err = host.Sets{}.SetMembers("KUBE-IPVS-IPS")
		note(err)
		_, err = host.Sysctls{}.RouteLocalnet("veth1")
		note(err)
		note(host.Sysctls{}.SetRouteLocalnet("veth1", true))
		_, _, err = host.EphemeralPorts()
		note(err)
		_, err = host.ReservedPorts()
		note(err)
		note(host.Ports{}.ReservePorts([]uint16{40000}))
		_, err = host.Forwarding(hostport.IPv4)
		note(err)
		_, err = host.SocketPrograms()
		note(err)
		_, err = host.VirtualServers()
		note(err)
		_, err = host.RouteRules()
		note(err)
		_, err = listener.New("/var/log/pods").Read([]hostport.Mapping{tcp})
		note(err)
		_, err = listener.New("/var/log/pods").Flows([]hostport.Mapping{{Family: hostport.IPv4, Proto: hostport.UDP, HostPort: 53}})
		note(err)
		note(errors.Join(nftconn.Open().Supported()))
		r := nftconn.NewReader()
		_, _, err = r.Chains()
		note(err)
		_, err = r.AllRules(inet)
		note(err)
		_, err = r.Rules(inet, "hostports4")
		note(err)
		_, err = r.Set(inet, "ports4")
		note(err)
		_, _, err = r.Lookup(set, []byte{1})
		note(err)
		_, err = r.AllElements(set)
		note(err)
		_, err = nftconn.NewReader().Generation()
		note(err)
		b := &nft.Batch{}
		b.CreateElement(inet, "ports4", nft.Element{Text: func() string { return "tcp . 80" }})
		note(nftconn.Open().Apply(b))
		tools := &iptables.Tools{}
		_, err = tools.Save(iptables.NFT, hostport.IPv4, "nat")
		note(err)
		_, err = tools.Save(iptables.Legacy, hostport.IPv4, "nat")
		note(err)
		_, err = rules.New(rules.Options{Proc: "/proc"}).Rules(rules.Legacy, nat, "PREROUTING")
		note(err)
		note(rules.Steady(time.Millisecond, rules.New(rules.Options{Proc: "/proc"}), func(*rules.Reader) error { return nil }))
	})
	for _, err := range errs {
		m.AddError("109", err)
	}
	m.Check(*update)
}
