// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
)

// Addresses are those of a node on two networks, with a Service's on kube-ipvs0.
func addresses() host.Addressing {
	on := host.Addressing{Broadcasts: []netip.Addr{netip.MustParseAddr("192.0.2.255"), netip.MustParseAddr("10.88.255.255")}}
	for p, infrastructure := range map[string]string{"127.0.0.0/8": "", "192.0.2.1/32": "", "10.88.0.1/32": "", "10.96.0.1/32": hostport.IPVSLink, "2001:db8::1/128": "", "240.0.0.7/32": ""} {
		on.Local = append(on.Local, hostport.Local{Prefix: netip.MustParsePrefix(p), Infrastructure: infrastructure})
	}
	return on
}

// A pod has no address of the node, and a hostIP is none that no packet is sent to.
func TestJudge(t *testing.T) {
	on := addresses()
	for _, tt := range []struct {
		pod, hostIP string // in the second place
		field, says string
	}{
		{"10.88.0.5", "", "", ""},
		{"192.0.2.77", "192.0.2.1", "", ""}, // on the uplink's network
		{"240.0.0.9", "240.0.0.7", "", ""},
		{"2001:db8::2", "2001:db8::1", "", ""},
		{"10.88.0.5", "198.51.100.1", "", ""}, // it may come later
		{"192.0.2.1", "", "prevResult.ips[1]", "the node's own"},
		{"10.88.0.1", "", "prevResult.ips[1]", "the node's own"},
		{"10.96.0.1", "", "prevResult.ips[1]", "the node's own"},
		{"2001:db8::1", "", "prevResult.ips[1]", "the node's own"},
		{"192.0.2.255", "", "prevResult.ips[1]", "a broadcast address"},
		{"10.88.0.5", "192.0.2.255", "runtimeConfig.portMappings[1].hostIP", "a broadcast address"},
		{"10.88.0.5", "10.88.255.255", "runtimeConfig.portMappings[1].hostIP", "a broadcast address"},
		{"10.88.0.5", "0.0.0.1", "runtimeConfig.portMappings[1].hostIP", "reserved"},
		{"10.88.0.5", "240.0.0.1", "runtimeConfig.portMappings[1].hostIP", "reserved"},
		{"10.88.0.5", "255.255.255.254", "runtimeConfig.portMappings[1].hostIP", "reserved"},
	} {
		req := &netconf.Request{Config: &netconf.Config{}, PodIPs: []netconf.Given{{Field: "prevResult.ips[0]", Addr: netip.MustParseAddr("10.88.0.9")}, {Field: "prevResult.ips[1]", Addr: netip.MustParseAddr(tt.pod)}}}
		if tt.hostIP != "" {
			req.HostIPs = []netconf.Given{{Field: "runtimeConfig.portMappings[1].hostIP", Addr: netip.MustParseAddr(tt.hostIP)}}
		}
		err := judge(&on, req)
		var fe *netconf.FieldError
		switch {
		case tt.field == "" && err == nil:
		case !errors.As(err, &fe) || fe.Field != tt.field || !strings.Contains(fe.Problem, tt.says):
			t.Errorf("pod %s, hostIP %s: %v, want field %q and %q", tt.pod, tt.hostIP, err, tt.field, tt.says)
		}
	}
}

// ADD refuses before it changes anything.
func TestAddJudges(t *testing.T) {
	b := newBench(t)
	b.node.on.Local = append(b.node.on.Local, hostport.Local{Prefix: netip.MustParsePrefix("192.0.2.9/32")})
	a := b.args(b.pod("web"), mapped)
	a.Netns = realNetns(t)
	if err := b.Add(a); code(err) != types.ErrInvalidNetworkConfig || !strings.Contains(err.Error(), "prevResult.ips[0]: 192.0.2.9") {
		t.Errorf("ADD: %v", err)
	}
	b.wantIn(b.pod("web"))
	if len(b.node.log) > 0 {
		t.Errorf("changed: %q", b.node.log)
	}
}
