// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

func udp(f hostport.Family, ip string, port uint16) hostport.Mapping {
	m := hostport.Mapping{Family: f, Proto: hostport.UDP, HostPort: port}
	if ip != "" {
		m.HostIP = netip.MustParseAddr(ip)
	}
	return m
}

// Sockets are what the kernel has, and only what meets a mapping matters.
func TestFlowsOfTheKernel(t *testing.T) {
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	peer := l.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, network := range []string{"udp4", "udp"} { // of the second the kernel may have an IPv6 socket
		c, err := net.Dial(network, peer.String())
		if err != nil {
			t.Fatal(err)
		}
		local := c.LocalAddr().(*net.UDPAddr).AddrPort()
		want := []hostport.Flow{{Local: local, Peer: peer}}
		for _, m := range []hostport.Mapping{udp(hostport.IPv4, "", local.Port()), udp(hostport.IPv4, "127.0.0.1", local.Port())} {
			if got, err := New("").Flows([]hostport.Mapping{m}); err != nil || cmp.Diff(want, got, compare()) != "" {
				t.Errorf("%s: %v, %v", m, got, err)
			}
		}
		tcp := udp(hostport.IPv4, "", local.Port())
		tcp.Proto = hostport.TCP
		for _, m := range []hostport.Mapping{udp(hostport.IPv4, "127.0.0.2", local.Port()), udp(hostport.IPv6, "", local.Port()), udp(hostport.IPv4, "", peer.Port()), tcp} {
			if got, err := New("").Flows([]hostport.Mapping{m}); err != nil || len(got) > 0 {
				t.Errorf("%s: %v, %v", m, got, err)
			}
		}
		_ = c.Close()
	}
}

// Without a handler the files tell it; what cannot be read is an error.
func TestFlowsOfFiles(t *testing.T) {
	r := &Reader{Proc: t.TempDir(), dumpFlows: func(uint8, uint16) ([]hostport.Flow, error) { return nil, unix.ENOENT }}
	if err := os.MkdirAll(r.net(""), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(r.net(""), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ms := []hostport.Mapping{udp(hostport.IPv4, "", 0xa5c3)}
	if got, err := r.Flows(ms); err == nil {
		t.Errorf("without a file: %v", got)
	}
	text := udp4
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		text = swapped(text)
	}
	write("udp", text)
	got, err := r.Flows(ms)
	if want := []hostport.Flow{{Local: netip.MustParseAddrPort("10.0.2.15:42435"), Peer: netip.MustParseAddrPort("8.8.8.8:53")}}; err != nil || cmp.Diff(want, got, compare()) != "" {
		t.Errorf("%v, %v", got, err)
	}
	for _, line := range []string{"1: 0F02000A:A5C3\n", "1: 0F02000A:A5C3 08:0035 01\n", "1: 0F02000A:A5C3 08080808:x 01\n", "1: x 08080808:0035 01\n"} {
		write("udp6", inetHeading+line)
		if got, err := r.Flows(ms); err == nil || !strings.Contains(err.Error(), "udp6") {
			t.Errorf("%q: %v, %v", line, got, err)
		}
	}
	broken := errors.New("broken")
	r.dumpFlows = func(uint8, uint16) ([]hostport.Flow, error) { return nil, broken }
	if _, err := r.Flows(ms); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if _, err := r.Flows(nil); err != nil {
		t.Errorf("nothing is asked for: %v", err)
	}
}
