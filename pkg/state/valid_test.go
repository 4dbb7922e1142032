// SPDX-License-Identifier: Apache-2.0

package state

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

// A record that no ADD has written is an error that says where, whoever asks for it.
func TestOddRecords(t *testing.T) {
	p := netip.MustParsePrefix
	port := hostport.Mapping{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 80, ContainerPort: 80}
	with := func(change func(*hostport.Mapping)) hostport.Mapping {
		m := port
		change(&m)
		return m
	}
	owner := hostport.Owner{ContainerID: "id", IfName: "eth0"}
	for odd, change := range map[string]func(*Record){
		"":                       func(*Record) {},
		"attachment.owner":       func(r *Record) { r.Attachment.Owner.IfName = "eth1" },
		"attachment.link":        func(r *Record) { r.Attachment.Link = "../x" },
		"attachment.pods[1]":     func(r *Record) { r.Attachment.Pods = append(r.Attachment.Pods, netip.Prefix{}) },
		"attachment.networks[0]": func(r *Record) { r.Attachment.Networks = []netip.Prefix{{}} },
		"attachment.excludes[0]": func(r *Record) { r.Attachment.Excludes = []netip.Prefix{{}} },
		"attachment.carves[0]":   func(r *Record) { r.Attachment.Carves = []hostport.Carve{{Port: 80}} },
		"attachment.flows[0]": func(r *Record) {
			r.Attachment.Flows = []hostport.Flow{{Local: netip.MustParseAddrPort("192.0.2.1:80")}}
		},
		"attachment.mappings[1]": func(r *Record) { r.Attachment.Mappings = append(r.Attachment.Mappings, hostport.Mapping{}) },
		"attachment.mappings[0]": func(r *Record) {
			r.Attachment.Mappings[0] = with(func(m *hostport.Mapping) { m.HostIP = netip.MustParseAddr("2001:db8::1") })
		},
		"left[0]": func(r *Record) { r.Left = []hostport.Mapping{with(func(m *hostport.Mapping) { m.Family = 5 })} },
		"left[1]": func(r *Record) {
			r.Left = []hostport.Mapping{port, with(func(m *hostport.Mapping) { m.Proto = 1 })}
		},
	} {
		r := Record{Attachment: hostport.Attachment{Owner: owner, Link: "cni0", Pods: []netip.Prefix{p("10.88.0.2/16")},
			Mappings: []hostport.Mapping{port}, Networks: []netip.Prefix{p("192.0.2.0/24")}}}
		change(&r)
		err := r.valid(owner.Key())
		if (err == nil) != (odd == "") || err != nil && !strings.HasPrefix(err.Error(), odd+" is not what") {
			t.Errorf("%s: %v", odd, err)
		}
	}
}
