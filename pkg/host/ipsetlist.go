// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// Attributes of include/uapi/linux/netfilter/ipset/ip_set.h that netlink has not, or at
// another number.
const (
	setBitmask     = 12 // IPSET_ATTR_BITMASK
	setMemberName  = 18 // IPSET_ATTR_NAME
	setNetmask     = 20 // IPSET_ATTR_NETMASK
	setMemberIP2   = 20 // IPSET_ATTR_IP2
	setMemberCIDR2 = 21 // IPSET_ATTR_CIDR2
	setMemberLink  = 23 // IPSET_ATTR_IFACE
)

// setListHeader is IPSET_FLAG_LIST_HEADER: only what a set is, without its members.
const setListHeader = 1 << 2

// listSet asks the kernel for a set.
func listSet(name string, flags uint32) ([][]byte, error) {
	return Complete(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(nl.IPSET_CMD_LIST|unix.NFNL_SUBSYS_IPSET<<8, unix.NLM_F_DUMP)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
		req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
		req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
		req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_FLAGS|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint32(nil, flags)))
		return req.Execute(unix.NETLINK_NETFILTER, 0)
	})
}

// tooLong reports whether the header of a set tells of more members than are listed.
func tooLong(msgs [][]byte) bool {
	for _, m := range msgs {
		head, err := nft.Attrs(m[min(len(m), nl.SizeofNfgenmsg):]).Nested(nl.IPSET_ATTR_DATA)
		if n, ok := head.Get(nl.IPSET_ATTR_ELEMENTS); err == nil && ok && len(n) == 4 && binary.BigEndian.Uint32(n) > nft.MaxListed {
			return true
		}
	}
	return false
}

// SetMembers lists the members of a set, if they are not too many. What the set makes of
// addresses before it looks for them is not told: then it is not whole.
func (Sets) SetMembers(name string) (members []hostport.Member, whole bool, err error) {
	msgs, err := listSet(name, setListHeader)
	if err == nil {
		if tooLong(msgs) { // a blocklist may have millions, which nobody needs to read
			return nil, false, nil
		}
		msgs, err = listSet(name, 0)
	}
	if err != nil {
		return nil, false, fmt.Errorf("could not list ipset %s: %w", name, err)
	}
	whole = true
	for _, m := range msgs {
		a := nft.Attrs(m[min(len(m), nl.SizeofNfgenmsg):])
		head, err1 := a.Nested(nl.IPSET_ATTR_DATA)
		list, err2 := a.Nested(nl.IPSET_ATTR_ADT)
		_, mask := head.Get(setNetmask)
		_, bits := head.Get(setBitmask)
		whole = whole && err1 == nil && err2 == nil && !mask && !bits
		err := nft.EachAttr(list, func(_ uint16, member []byte) error {
			m, ok := decodeMember(member)
			members, whole = append(members, m), whole && ok && len(members) <= nft.MaxListed
			return nil
		})
		if whole = whole && err == nil; !whole {
			return nil, false, nil
		}
	}
	return members, true, nil
}

// SetExpires reports whether members of a set go by themselves. Of one that is too long to be
// listed that is not known, and it may have such members if it can.
func (Sets) SetExpires(name string) (bool, error) {
	msgs, err := listSet(name, setListHeader)
	if err == nil && canExpire(msgs) && !tooLong(msgs) {
		msgs, err = listSet(name, 0)
		return expire(msgs), err
	}
	if err != nil {
		return false, fmt.Errorf("could not list ipset %s: %w", name, err)
	}
	return canExpire(msgs), nil
}

// canExpire reports whether the header of a set tells how long its members stay.
func canExpire(msgs [][]byte) bool {
	return slices.ContainsFunc(msgs, func(m []byte) bool {
		head, _ := nft.Attrs(m[min(len(m), nl.SizeofNfgenmsg):]).Nested(nl.IPSET_ATTR_DATA)
		_, can := head.Get(nl.IPSET_ATTR_TIMEOUT)
		return can
	})
}

// expire reports whether some listed member has a time to go; those that stay have 0.
func expire(msgs [][]byte) (some bool) {
	for _, m := range msgs {
		list, _ := nft.Attrs(m[min(len(m), nl.SizeofNfgenmsg):]).Nested(nl.IPSET_ATTR_ADT)
		err := nft.EachAttr(list, func(_ uint16, member []byte) error {
			left, _ := nft.Attrs(member).Num(nl.IPSET_ATTR_TIMEOUT)
			some = some || left != 0
			return nil
		})
		some = some || err != nil
	}
	return some
}

// decodeMember reads a member: an address or a network, with a port, another one, or a link;
// or the name of a set. What its other flags mean is not known here.
func decodeMember(a nft.Attrs) (m hostport.Member, ok bool) {
	m.Addrs = memberAddrs(a, nl.IPSET_ATTR_IP, nl.IPSET_ATTR_CIDR)
	m.Addrs2 = memberAddrs(a, setMemberIP2, setMemberCIDR2)
	if proto, given := a.Get(nl.IPSET_ATTR_PROTO); given && len(proto) == 1 {
		m.Proto = hostport.Proto(proto[0])
	}
	if port, given := a.Get(nl.IPSET_ATTR_PORT); given && len(port) == 2 {
		m.Port = binary.BigEndian.Uint16(port)
	}
	flags, _ := a.Num(nl.IPSET_ATTR_CADT_FLAGS)
	m.Except, m.Link, m.Set = flags&nl.IPSET_FLAG_NOMATCH != 0, a.Text(setMemberLink), a.Text(setMemberName)
	return m, flags&^nl.IPSET_FLAG_NOMATCH == 0 && (len(m.Addrs) > 0 || m.Set != "")
}

// memberAddrs reads an address, or the network that it begins.
func memberAddrs(a nft.Attrs, at, prefix uint16) addrset.Set {
	ip, err := a.Nested(at)
	if err != nil {
		return nil
	}
	b, is4 := ip.Get(nl.IPSET_ATTR_IPADDR_IPV4)
	if !is4 {
		b, _ = ip.Get(nl.IPSET_ATTR_IPADDR_IPV6)
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return nil
	}
	bits := addr.BitLen()
	if cidr, given := a.Get(prefix); given && len(cidr) == 1 {
		bits = int(cidr[0])
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return nil
	}
	return addrset.Of(p)
}
