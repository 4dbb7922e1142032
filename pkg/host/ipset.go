// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// Sets asks the kernel about ipsets, one member at a time: KUBE-IPVS-IPS alone
// has as many as the cluster has Services.
type Sets struct{}

// SetType returns the type of a set, such as "hash:ip,port", "" if there is no
// such set.
func (Sets) SetType(name string) (string, error) {
	msgs, err := setRequest(nl.IPSET_CMD_HEADER, name)
	typ := ""
	if err == nil {
		typ, err = text(msgs, nl.IPSET_ATTR_TYPENAME, "type")
	}
	switch {
	case noSet(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("could not ask for ipset %s: %w", name, err)
	}
	return typ, nil
}

// noSet reports whether there is no such set, or no ip_set in the kernel.
func noSet(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT)
}

// text finds an attribute in an answer. What it tells of a set is for the error.
func text(msgs [][]byte, typ uint16, what string) (string, error) {
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[min(len(m), nl.SizeofNfgenmsg):])
		if err != nil {
			return "", err
		}
		for _, a := range attrs {
			if a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == typ {
				return strings.TrimRight(string(a.Value), "\x00"), nil
			}
		}
	}
	return "", fmt.Errorf("the kernel did not tell its %s", what)
}

// SetName returns the name of the set with an index, by which rules of iptables know it;
// "" if there is no such set, or the kernel does not tell (before Linux 4.20).
func (Sets) SetName(index uint16) (string, error) {
	const getByIndex, attrIndex, protocol = 15, 11, 7 // include/uapi/linux/netfilter/ipset/ip_set.h
	msgs, err := ask(getByIndex, protocol, nl.NewRtAttr(attrIndex|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint16(nil, index)))
	name := ""
	if err == nil {
		name, err = text(msgs, nl.IPSET_ATTR_SETNAME, "name")
	}
	switch {
	case noSet(err), errors.Is(err, unix.Errno(nl.IPSET_ERR_PROTOCOL)):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("could not ask for ipset number %d: %w", index, err)
	}
	return name, nil
}

// SetHas reports whether a set holds a port, an address, or both, as its type
// asks. netlink.IpsetTest is not used: it names a protocol with every port, which
// a bitmap of ports refuses.
func (Sets) SetHas(name, typ string, addr netip.Addr, proto hostport.Proto, port uint16) (bool, error) {
	data := nl.NewRtAttr(nl.IPSET_ATTR_DATA|unix.NLA_F_NESTED, nil)
	if typ != "bitmap:port" {
		ip := nl.NewRtAttr(nl.IPSET_ATTR_IP|unix.NLA_F_NESTED, nil)
		attr := nl.IPSET_ATTR_IPADDR_IPV4
		if addr.Is6() {
			attr = nl.IPSET_ATTR_IPADDR_IPV6
		}
		ip.AddRtAttr(attr|unix.NLA_F_NET_BYTEORDER, addr.AsSlice())
		data.AddChild(ip)
	}
	if strings.Contains(typ, ",port") {
		data.AddRtAttr(nl.IPSET_ATTR_PROTO, nl.Uint8Attr(uint8(proto)))
	}
	if strings.Contains(typ, "port") {
		data.AddRtAttr(nl.IPSET_ATTR_PORT|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint16(nil, port))
	}
	_, err := setRequest(nl.IPSET_CMD_TEST, name, data)
	var errno unix.Errno
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &errno) && (errno == nl.IPSET_ERR_EXIST || typ == "bitmap:port" && errno == nl.IPSET_ERR_TYPE_SPECIFIC):
		return false, nil // not in it, or out of the bitmap's range
	}
	return false, fmt.Errorf("could not look up %s %d/%s in ipset %s: %w", addr, port, proto, name, err)
}

// setRequest sends one request about a set.
func setRequest(cmd int, name string, more ...*nl.RtAttr) ([][]byte, error) {
	return ask(cmd, nl.IPSET_PROTOCOL, append([]*nl.RtAttr{nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name))}, more...)...)
}

func ask(cmd int, protocol uint8, attrs ...*nl.RtAttr) ([][]byte, error) {
	req := nl.NewNetlinkRequest(cmd|unix.NFNL_SUBSYS_IPSET<<8, unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(protocol)))
	for _, a := range attrs {
		req.AddData(a)
	}
	return req.Execute(unix.NETLINK_NETFILTER, 0)
}
