// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
)

// ipvsFile is there as soon as ip_vs is in the kernel. The netlink family of that name would
// tell the same, but to root of the machine only, and to ask for it loads the module.
const ipvsFile = "/proc/thread-self/net/ip_vs"

// VirtualServers are those of IPVS, nil if it is not in the kernel.
func VirtualServers() ([]hostport.VirtualServer, error) {
	f, err := os.Open(ipvsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []hostport.VirtualServer
	if err == nil {
		defer f.Close()
		out, err = parseIPVS(f)
	}
	if err != nil {
		return nil, fmt.Errorf("could not read the virtual servers of IPVS: %w", err)
	}
	return out, nil
}

// parseIPVS reads what ip_vs_info_seq_show (net/netfilter/ipvs/ip_vs_ctl.c) prints: three
// lines of heading, a line for each virtual server, and one that begins with "  ->" for each
// of its real servers.
func parseIPVS(r io.Reader) ([]hostport.VirtualServer, error) {
	const heading = 3
	var out []hostport.VirtualServer
	s := bufio.NewScanner(r)
	for n := 0; s.Scan(); n++ {
		f := strings.Fields(s.Text())
		if n < heading || len(f) == 0 || f[0] == "->" {
			continue
		}
		v, err := virtualServer(f)
		if err != nil {
			return nil, fmt.Errorf("%w: %q", err, s.Text())
		}
		out = append(out, v)
	}
	return out, s.Err()
}

// virtualServer reads "TCP  C0000201:0050 rr", "UDP  [2001:0db8:...:0001]:0035 rr" or
// "FWM  00000001 wlc".
func virtualServer(f []string) (v hostport.VirtualServer, err error) {
	if len(f) < 2 {
		return v, errors.New("a line of one word")
	}
	if f[0] == "FWM" {
		mark, err := strconv.ParseUint(f[1], 16, 32)
		if err != nil {
			return v, errors.New("invalid mark")
		}
		v.Mark = uint32(mark)
		return v, nil
	}
	if v.Proto, err = hostport.ParseProto(strings.ToLower(f[0])); err != nil {
		return v, err
	}
	i := strings.LastIndexByte(f[1], ':')
	if i < 0 {
		return v, errors.New("an address without a port")
	}
	port, err := strconv.ParseUint(f[1][i+1:], 16, 16)
	if err != nil {
		return v, errors.New("invalid port")
	}
	v.Port = uint16(port)
	v.Addr, err = ipvsAddr(f[1][:i])
	return v, err
}

// ipvsAddr reads an address of IPv4 as one hexadecimal number, and of IPv6 in brackets.
func ipvsAddr(s string) (netip.Addr, error) {
	if six, ok := strings.CutPrefix(s, "["); ok {
		return netip.ParseAddr(strings.TrimSuffix(six, "]"))
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 {
		return netip.Addr{}, errors.New("invalid address")
	}
	return netip.AddrFrom4([4]byte(b)), nil
}
