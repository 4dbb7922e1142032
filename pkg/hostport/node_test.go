// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListenerCovers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ip     string
		only   bool
		v4, v6 bool
	}{
		{"an IPv4 address covers IPv4", "192.0.2.1", false, true, false},
		{"the IPv4 wildcard covers IPv4", "0.0.0.0", false, true, false},
		{"the IPv6 wildcard covers both", "::", false, true, true},
		{"the IPv6 wildcard with V6ONLY covers IPv6", "::", true, false, true},
		{"an IPv6 address covers IPv6", "2001:db8::1", false, false, true},
		{"the IPv6 loopback covers IPv6", "::1", false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := Listener{Addr: addr(tt.ip), V6Only: tt.only}
			if diff := cmp.Diff([]bool{tt.v4, tt.v6}, []bool{l.Covers(IPv4), l.Covers(IPv6)}); diff != "" {
				t.Errorf("IPv4, IPv6 (-want +got)\n%s", diff)
			}
		})
	}
}

func TestListenerString(t *testing.T) {
	for _, tt := range []struct {
		name string
		l    Listener
		want string
	}{
		{
			"a process is named", Listener{Addr: addr("0.0.0.0"), Port: 80, Holder: Process{PID: 12, Comm: "nginx"}},
			"nginx (pid 12) listens on 0.0.0.0:80",
		},
		{
			"its pod is named", Listener{Addr: addr("::"), Port: 80, Holder: Process{PID: 12, Comm: "nginx", Pod: "pod a/b"}},
			"nginx (pid 12, pod a/b) listens on [::]:80",
		},
		{
			"uid and inode stand in for a process", Listener{Addr: addr("192.0.2.1"), Port: 80, UID: 7, Inode: 99},
			"a socket of uid 7 (inode 99, no process found) listens on 192.0.2.1:80",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.l.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
