// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

const (
	inetHeading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	sctpHeading = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n"

	// Real lines of a little-endian machine: 127.0.0.53:53, 0.0.0.0:22, an
	// established and a TIME_WAIT connection.
	tcp4 = inetHeading +
		"   0: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 20573 1 0000000000000000 100 0 0 10 5\n" +
		"   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24010 1 0000000000000000 100 0 0 10 0\n" +
		"   2: 0F02000A:0016 0202000A:C5E2 01 00000000:00000000 02:000A7214 00000000     0        0 30112 4 0000000000000000 20 4 31 10 -1\n" +
		"   3: 0100007F:1F90 0100007F:9C40 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000\n"
	// [::]:80, [::1]:631, ::ffff:192.0.2.1:8080 and an established one.
	tcp6 = inetHeading +
		"   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41111 1 0000000000000000 100 0 0 10 0\n" +
		"   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41112 1 0000000000000000 100 0 0 10 0\n" +
		"   2: 0000000000000000FFFF0000010200C0:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41113 1 0000000000000000 100 0 0 10 0\n" +
		"   3: B80D0120000000000000000001000000:0050 B80D0120000000000000000002000000:D431 01 00000000:00000000 00:00000000 00000000     0        0 41114 1 0000000000000000 20 4 30 10 -1\n"
	// 0.0.0.0:68 unconnected, a connected client (state 01).
	udp4 = inetHeading +
		"  325: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 19000 2 0000000000000000 0\n" +
		"  326: 0F02000A:A5C3 08080808:0035 01 00000000:00000000 00:00000000 00000000  1000        0 19001 2 0000000000000000 0\n"
)

func sock(p hostport.Proto, ip string, port uint16, uid, inode uint32) hostport.Listener {
	return hostport.Listener{Proto: p, Addr: netip.MustParseAddr(ip), Port: port, UID: uid, Inode: inode}
}

func compare() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}) }

// swapped is the same file on a big-endian machine: every 32-bit word of an
// address is printed the other way round.
func swapped(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.SplitN(line, ": ", 2)
		if len(f) == 2 {
			words := strings.SplitN(f[1], ":", 2)
			b := []byte(words[0])
			for i := 0; i+8 <= len(b); i += 8 {
				w := string(b[i : i+8])
				copy(b[i:], w[6:8]+w[4:6]+w[2:4]+w[0:2])
			}
			line = f[0] + ": " + string(b) + ":" + words[1]
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}

func TestParseInet(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		proto    hostport.Proto
		want     []hostport.Listener
	}{
		{"the heading alone is nobody", inetHeading, hostport.TCP, nil},
		{"an empty file is nobody", "", hostport.TCP, nil},
		{"of tcp only LISTEN counts", tcp4, hostport.TCP, []hostport.Listener{sock(hostport.TCP, "127.0.0.53", 53, 101, 20573), sock(hostport.TCP, "0.0.0.0", 22, 0, 24010)}},
		{"IPv6 and v4-mapped addresses are read", tcp6, hostport.TCP, []hostport.Listener{
			sock(hostport.TCP, "::", 80, 0, 41111), sock(hostport.TCP, "::1", 631, 0, 41112), sock(hostport.TCP, "192.0.2.1", 8080, 1000, 41113),
		}},
		{"of udp only unconnected sockets count", udp4, hostport.UDP, []hostport.Listener{sock(hostport.UDP, "0.0.0.0", 68, 0, 19000)}},
	} {
		for order, in := range map[binary.ByteOrder]string{binary.LittleEndian: tt.in, binary.BigEndian: swapped(tt.in)} {
			t.Run(tt.name+", "+order.String(), func(t *testing.T) {
				got, err := parseInet(strings.NewReader(in), tt.proto, order)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got, compare()); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		}
	}
}

// A line that cannot be read may be the listener we look for.
func TestParseInetFailsClosed(t *testing.T) {
	const rest = " 00000000:0000 0A 00000000:00000000 00:00000000 00000000 "
	for _, tt := range []struct{ name, line, says string }{
		{"a cut line", "   0: 00000000:0016 00000000:0000 0A", "fields"},
		{"an address of 3 bytes", "   0: 000000:0016" + rest + "0 0 1", "invalid address"},
		{"an address that is not hexadecimal", "   0: zz000000:0016" + rest + "0 0 1", "invalid address"},
		{"no port", "   0: 00000000" + rest + "0 0 1", "invalid port"},
		{"a port of 5 digits", "   0: 00000000:10000" + rest + "0 0 1", "invalid port"},
		{"a uid that is no number", "   0: 00000000:0016" + rest + "root 0 1", "invalid uid"},
		{"an inode that is no number", "   0: 00000000:0016" + rest + "0 0 x", "invalid inode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseInet(strings.NewReader(inetHeading+tt.line+"\n"), hostport.TCP, binary.LittleEndian)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
		})
	}
}

func TestParseSCTP(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []hostport.Listener
		says     string
	}{
		{"the heading alone is nobody", sctpHeading, nil, ""},
		{
			"a listening endpoint has a line with all its addresses",
			sctpHeading + "       0        0 2   10  29   9999      7 80123 0.0.0.0 2001:0db8:0000:0000:0000:0000:0000:0001 \n",
			[]hostport.Listener{sock(hostport.SCTP, "0.0.0.0", 9999, 7, 80123), sock(hostport.SCTP, "2001:db8::1", 9999, 7, 80123)}, "",
		},
		{"a primary address has a star", sctpHeading + " 0 0 1 10 29 99 0 5 *192.0.2.1\n", []hostport.Listener{sock(hostport.SCTP, "192.0.2.1", 99, 0, 5)}, ""},
		{"a closed endpoint is nobody", sctpHeading + " 0 0 2 7 29 9999 0 80124 0.0.0.0\n", nil, ""},
		{"a cut line is an error", sctpHeading + " 0 0 2 10 29\n", nil, "fields"},
		{"a port out of range is an error", sctpHeading + " 0 0 2 10 29 99999 0 1 0.0.0.0\n", nil, "invalid port"},
		{"an unreadable address is an error", sctpHeading + " 0 0 2 10 29 99 0 1 host\n", nil, "invalid address"},
		{"an unreadable inode is an error", sctpHeading + " 0 0 2 10 29 99 0 x 0.0.0.0\n", nil, "invalid inode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseSCTP(strings.NewReader(tt.in))
			if (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error is %v, want %q", err, tt.says)
			}
			if diff := cmp.Diff(tt.want, got, compare()); err == nil && diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// diagMsg builds a struct inet_diag_msg with attributes.
func diagMsg(family byte, addr string, port uint16, attrs ...byte) []byte {
	m := make([]byte, diagMsgLen)
	m[0], m[1] = family, stateListen
	binary.BigEndian.PutUint16(m[4:], port)
	copy(m[8:24], netip.MustParseAddr(addr).AsSlice())
	binary.NativeEndian.PutUint32(m[64:], 1000)
	binary.NativeEndian.PutUint32(m[68:], 4711)
	return append(m, attrs...)
}

func boundTo(m []byte, index uint32) []byte {
	binary.NativeEndian.PutUint32(m[40:], index)
	return m
}

func onDevice(name string) hostport.Listener {
	l := sock(hostport.TCP, "0.0.0.0", 443, 1000, 4711)
	l.Device = name
	return l
}

// Of some links rules see what comes in as come in by another one.
func TestLinksOfSockets(t *testing.T) {
	at := func(name string, index, master, parent int) netlink.LinkAttrs {
		return netlink.LinkAttrs{Name: name, Index: index, MasterIndex: master, ParentIndex: parent, NetNsID: -1}
	}
	far := at("far", 20, 0, 2)
	far.NetNsID = 0
	lo := at("lo", 1, 0, 0)
	lo.Flags = net.FlagLoopback
	links := []netlink.Link{&netlink.Device{LinkAttrs: lo}, &netlink.Bridge{LinkAttrs: at("br0", 2, 0, 0)}, &netlink.Device{LinkAttrs: at("eth0", 3, 0, 0)},
		&netlink.Device{LinkAttrs: at("port", 4, 2, 0)}, &netlink.Vlan{LinkAttrs: at("br0.7", 5, 0, 2)}, &netlink.Vlan{LinkAttrs: at("eth0.7", 6, 0, 3)},
		&netlink.Vrf{LinkAttrs: at("red", 7, 0, 0)}, &netlink.Device{LinkAttrs: at("ofred", 8, 7, 0)}, &netlink.IPVlan{LinkAttrs: at("ipvl", 9, 0, 3)},
		&netlink.Macvlan{LinkAttrs: at("onport", 10, 0, 4)}, &netlink.Macvlan{LinkAttrs: at("deep", 11, 0, 5)}, &netlink.Veth{LinkAttrs: at("one", 12, 0, 13)},
		&netlink.Veth{LinkAttrs: at("two", 13, 0, 12)}, &netlink.Veth{LinkAttrs: far}, &netlink.Dummy{LinkAttrs: at("odd+", 15, 0, 0)}, &netlink.Macvlan{LinkAttrs: at("lost", 16, 0, 99)}}
	r := &Reader{links: func() ([]netlink.Link, error) { return links, nil }}
	want := map[string]bool{"br0": true, "eth0": true, "eth0.7": true, "one": true, "two": true, "far": true}
	for _, l := range links {
		ls := []hostport.Listener{onDevice(deviceNumber(uint32(l.Attrs().Index)))}
		if ls = r.nameDevices(ls); ls[0].Device != l.Attrs().Name || (ls[0].Link == l.Attrs().Index) != want[ls[0].Device] || !want[ls[0].Device] && ls[0].Link != 0 {
			t.Errorf("%s: got %+v", l.Attrs().Name, ls[0])
		}
	}
}

// The number becomes a name. A socket whose link is gone has nothing; if nobody knows, it has.
func TestNamesOfDevices(t *testing.T) {
	r := &Reader{links: func() ([]netlink.Link, error) {
		return []netlink.Link{&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "virbr0", Index: 7}}}, nil
	}}
	ls := []hostport.Listener{onDevice("7"), onDevice(""), onDevice("8")}
	if ls = r.nameDevices(ls); len(ls) != 2 || ls[0].Device != "virbr0" || ls[1].Device != "" {
		t.Errorf("got %+v", ls)
	}
	r.links = func() ([]netlink.Link, error) { return nil, errors.New("no answer") }
	if ls = r.nameDevices([]hostport.Listener{onDevice("8")}); len(ls) != 1 || ls[0].Device != "8" {
		t.Errorf("links cannot be listed: got %+v", ls)
	}
}

func FuzzParseInet(f *testing.F) {
	for _, s := range []string{tcp4, tcp6, udp4} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ls, err := parseInet(strings.NewReader(text), hostport.TCP, binary.LittleEndian)
		for _, l := range ls {
			if err == nil && (!l.Addr.IsValid() || l.Addr.Is4In6()) {
				t.Errorf("address %v", l.Addr)
			}
		}
	})
}

func FuzzParseSCTP(f *testing.F) {
	f.Add(sctpHeading + " 0 0 2 10 29 9999 7 80123 0.0.0.0 *::1\n")
	f.Fuzz(func(t *testing.T, text string) {
		ls, err := parseSCTP(strings.NewReader(text))
		for _, l := range ls {
			if err == nil && (!l.Addr.IsValid() || l.Addr.Is4In6() || l.Proto != hostport.SCTP) {
				t.Errorf("listener %v", l)
			}
		}
	})
}

func FuzzDecodeDiag(f *testing.F) {
	f.Add(diagMsg(unix.AF_INET, "192.0.2.1", 443))
	f.Add(diagMsg(unix.AF_INET6, "::", 80, append(attr(8, 5, 1), attr(attrV6Only, 5, 1)...)...))
	f.Fuzz(func(t *testing.T, m []byte) {
		ls, err := decodeDiag(hostport.TCP, m)
		for _, l := range ls {
			if err == nil && (!l.Addr.IsValid() || l.Addr.Is4In6()) {
				t.Errorf("listener %v", l)
			}
		}
	})
}
