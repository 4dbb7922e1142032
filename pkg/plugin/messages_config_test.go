// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
)

func (s *script) configurations() {
	s.Section("the network configuration of ADD, CHECK and STATUS")
	_, err := netconf.Parse([]byte("{"))
	s.err(err, types.ErrDecodingFailure)
	port := func(fields string) string { return `,"runtimeConfig":{"portMappings":[` + fields + `]}` }
	for _, more := range []string{
		`,"name":1`, `,"snat":"yes"`, `,"backend":{}`, `,"backend":"ebpf"`, `,"markMasqBit":1.5`, `,"markMasqBit":32`,
		`,"markMasqBit":1,"externalSetMarkChain":"X"`, `,"backend":"nftables","externalSetMarkChain":"X"`,
		`,"conflictPolicy":"ask"`, `,"reserve":"yes"`, `,"conditionsV4":"-s 1"`, `,"conditionsV4":["-s",""]`, `,"conditionsV4":["-s","1.1.1.1\n-A X"]`,
		`,"conditionsV4":["-s","1.1.1.1","-j","ACCEPT"]`, `,"conditionsV4":["ip saddr 10.0.0.1","accept"]`, `,"conditionsV4":["ip saddr 10.0.0.1; flush ruleset"]`,
		`,"conditionsV6":["ip6 saddr","\n"]`, `,"backend":"iptables","conditionsV6":["ip6","saddr","::1"]`, `,"conditionsV4":["-s","1.1.1.1"],"conditionsV6":["ip6","saddr","::1"]`,
		`,"excludeCIDRs":["10.0.0.0/33"]`, `,"excludeCIDRs":["::ffff:10.0.0.0/104"]`, `,"excludeCIDRs":["0.0.0.0/0"]`, `,"excludeInterfaces":[""]`, `,"excludeInterfaces":["*"]`, `,"excludeInterfaces":["lo"]`, `,"excludeInterfaces":["lb*0"]`, `,"excludeInterfaces":["kube-loadbalancer0"]`, `,"excludeInterfaces":["a/b"]`,
		`,"protectedPorts":["ssh"]`, `,"protectedPorts":["30-20/tcp"]`, `,"protectedPorts":["22/icmp"]`, `,"lockTimeout":"10"`, `,"claimWait":"5"`, `,"dataDir":"run"`, `,"cacheDir":"/"`, `,"dataDir":"/a","DATADIR":"/b"`,
		`,"runtimeConfig":[]`, `,"runtimeConfig":{"portMappings":{}}`, port(`7`), port(`{"hostPort":"80"}`), port(`{"containerPort":80}`), port(`{"hostPort":80,"containerPort":70000}`),
		port(`{"hostPort":80,"containerPort":80,"protocol":"icmp"}`), port(`{"hostPort":80,"containerPort":80,"hostIP":"localhost"}`),
	} {
		_, err := netconf.Parse([]byte(confHead + more + "}"))
		s.err(err, types.ErrDecodingFailure)
	}
	c, err := netconf.Parse([]byte(confHead + `,"markMasqBit":1}`))
	s.remarks(c, nil, err)
	c, err = netconf.Parse([]byte(confHead + `,"externalSetMarkChain":"X"}`))
	s.remarks(c, nil, err)
}

// remarks adds the warnings about a configuration and a request.
func (s *script) remarks(c *netconf.Config, r *netconf.Request, err error) {
	if err != nil {
		s.t.Fatal(err)
	}
	s.warn(c.Notes...)
	if r != nil {
		s.warn(r.Warnings...)
	}
	s.warned()
}

// parsed reads the configuration of an ADD.
func (s *script) parsed(conf string) (*netconf.Request, error) {
	s.t.Helper()
	c, err := netconf.Parse([]byte(conf))
	if err != nil {
		s.t.Fatal(err)
	}
	return netconf.NewRequest(c, argsOf(conf))
}

func (s *script) requests() {
	s.Section("prevResult and the hostIPs of the pod")
	for _, conf := range []string{
		confHead + portOf("") + "}",
		confHead + portOf("") + `,"prevResult":{"cniVersion":"1.0.0","ips":[{"address":"x"}]}}`,
		confHead + portOf("") + `,"prevResult":{"cniVersion":"1.0.0"}}`,
		strings.Replace(confHead+portOf("")+confPrev+"}", "1.0.0", "7.0.0", 1),
		confHead + portOf(`,"hostIP":"2001:db8::1"`) + confPrev + "}",
		confHead + portOf(`,"hostIP":"224.0.0.1"`) + confPrev + "}",
		strings.Replace(confHead+portOf("")+confPrev+"}", "192.0.2.9/24", "127.0.0.1/8", 1),
		strings.Replace(confHead+portOf("")+confPrev+"}", `"interface":0`, `"interface":5`, 1),
		strings.Replace(confHead+portOf("")+confPrev+"}", `"ips":[`, `"ips":[null,`, 1),
		confHead + portOf(`,"hostIP":"127.0.0.1"`) + confPrev + `,"localhost":false}`,
		confHead + portOf(`,"hostIP":"192.0.2.1"`) + confPrev + `,"excludeCIDRs":["192.0.2.0/24"]}`,
		strings.Replace(confHead+portOf(`,"hostIP":"::1"`)+confPrev+"}", "192.0.2.9/24", "2001:db8::9/64", 1),
		strings.Replace(confHead+portOf(`,"hostIP":"fe80::1"`)+confPrev+"}", "192.0.2.9/24", "2001:db8::9/64", 1),
	} {
		_, err := s.parsed(conf)
		s.err(err, types.ErrInvalidNetworkConfig)
	}
	for _, hostIP := range []string{"", `,"hostIP":"192.0.2.255"`} {
		r, err := s.parsed(confHead + portOf(hostIP) + confPrev + "}")
		if err != nil {
			s.t.Fatal(err)
		}
		on := &host.Addressing{Local: []hostport.Local{{Prefix: netip.MustParsePrefix("192.0.2.9/32")}}, Broadcasts: []netip.Addr{netip.MustParseAddr("192.0.2.255")}}
		if hostIP != "" {
			on.Local = nil
		}
		s.err(judge(on, r), types.ErrInvalidNetworkConfig)
	}
	for _, conf := range []string{
		confHead + portOf(`,"hostIP":"::"`) + confPrev + "}",
		confHead + `,"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":1},{"hostPort":80,"containerPort":2}]}` + confPrev + "}",
	} {
		r, err := s.parsed(conf)
		s.remarks(r.Config, r, err)
	}
}

func (s *script) collections() {
	s.Section("the network configuration of GC")
	for _, conf := range []string{"{", `{"cniVersion":"1.1.0"}`, `{"name":"net","cni.dev/valid-attachments":7}`, `{"name":"net","cni.dev/valid-attachments":[{"containerID":"x"}]}`} {
		s.err(s.GC(argsOf(conf)), types.ErrDecodingFailure)
	}
	s.Section("STATUS")
	s.node.forbidden = fmt.Errorf("could not change nftables: %w", unix.EPERM)
	s.err(s.Status(argsOf(confHead+"}")), types.ErrPluginNotAvailable)
	s.node.forbidden = nil
	s.node.unheld = errors.New("binds cannot be refused: the kernel has no cgroup v2")
	s.err(s.Status(argsOf(confHead+`,"reserve":"require"}`)), types.ErrPluginNotAvailable)
	s.node.unheld = nil
}

func (s *script) namespaces() {
	s.Section("the network namespace of the pod")
	for _, path := range []string{s.dir + "/gone", s.write("file", ""), "/proc/self/ns/uts", "/proc/self/ns/net"} {
		args := argsOf(confHead + portOf("") + confPrev + "}")
		args.Netns = path
		s.err(s.Plugin.Add(args), types.ErrInvalidNetNS)
	}
}
