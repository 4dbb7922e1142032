// SPDX-License-Identifier: Apache-2.0

package elements

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// rule joins the expressions of one rule.
func rule(parts ...[]nft.Expr) []nft.Expr { return slices.Concat(parts...) }

func one(e ...nft.Expr) []nft.Expr { return e }

// prerouting and output lead to the hostPorts. To 127.0.0.1 only the node itself is
// led: what comes in for it the kernel drops when it routes, which is too late for what
// has been translated. (For ::1 it does so before, but not before a bridge's netfilter.)
// What arrives on lo has already passed output.
func prerouting() [][]nft.Expr {
	v4, v6 := info(hostport.IPv4), info(hostport.IPv6)
	return [][]nft.Expr{
		rule(midStream(), one(verdict(nft.Jump, "established"))),
		rule(v4.notTo(loopbackNet), localDestination(), one(verdict(nft.Jump, "hostports4"))),
		rule(v6.notTo(loopbackV6), localDestination(), one(verdict(nft.Jump, "hostports6"))),
	}
}

func output() [][]nft.Expr {
	v4, v6 := info(hostport.IPv4), info(hostport.IPv6)
	return [][]nft.Expr{
		rule(v4.to(loopbackNet), one(verdict(nft.Goto, "loopback4"))),
		rule(v4.only(), localDestination(), one(verdict(nft.Jump, "hostports4"))),
		rule(v6.notTo(loopbackV6), localDestination(), one(verdict(nft.Jump, "hostports6"))),
	}
}

// established keeps the packets of the node's own connections, which conntrack may have
// forgotten: a socket with a local address, or one in TIME_WAIT or SYN_RECV, which has no
// key "wildcard" (nft_socket_eval). Who listens at all addresses has no connection.
func established() [][]nft.Expr {
	return [][]nft.Expr{
		rule(socket(socketWildcard, 1), one(verdict(nft.Return, ""))),
		rule(socket(socketTransparent, 0), one(verdict(nft.Accept, ""))),
		rule(socket(socketTransparent, 1), one(verdict(nft.Accept, ""))),
	}
}

// unknown is established for a kernel that cannot look for sockets, so for all it knows each
// is the node's: connections of pods end when conntrack forgets them.
func unknown() [][]nft.Expr { return [][]nft.Expr{one(verdict(nft.Accept, ""))} }

// hostports are those at the node's own addresses but loopback's.
func (f familyInfo) hostports() [][]nft.Expr {
	out := [][]nft.Expr{f.notOwn(), f.connected(), f.conditional(), f.specific()}
	if f.family == hostport.IPv6 {
		// Of one byte the kernel makes a faster comparison, and it is enough for most.
		out = append(out, rule(f.to("fe00::/8"), f.to(linkLocal)[len(f.only()):], one(verdict(nft.Return, ""))))
	}
	return append(out,
		rule(f.only(), protoAndPort(0), one(payload(unix.NFT_PAYLOAD_NETWORK_HEADER, f.dst, f.addrLen(), 2), inSet(f.name("spared")), verdict(nft.Return, ""))),
		rule(protoAndPort(0), one(fromMap(f.name("ports"), reg(0)), f.dnat())))
}

// loopback are those at 127.0.0.0/8.
func loopback() [][]nft.Expr {
	f := info(hostport.IPv4)
	return [][]nft.Expr{f.connected(), f.conditional(), f.specific(),
		rule(f.to("127.0.0.1/32"), protoAndPort(0), one(fromMap(setLocalhost, reg(0)), f.dnat()))}
}

// notOwn leaves out what is local and not the node's own.
func (f familyInfo) notOwn() []nft.Expr {
	return rule(f.only(), one(payload(unix.NFT_PAYLOAD_NETWORK_HEADER, f.dst, f.addrLen(), 0), payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, f.words),
		notIn(f.name("own")), verdict(nft.Return, "")))
}

// connected leaves alone what connected UDP sockets of the node receive.
func (f familyInfo) connected() []nft.Expr {
	const network, transport = unix.NFT_PAYLOAD_NETWORK_HEADER, unix.NFT_PAYLOAD_TRANSPORT_HEADER
	return rule(f.only(), only(hostport.UDP), one(payload(network, f.dst, f.addrLen(), 0), payload(transport, 2, 2, f.words),
		payload(network, f.src, f.addrLen(), f.words+1), payload(transport, 0, 2, 2*f.words+1), inSet(f.name("connected")), verdict(nft.Return, "")))
}

// conditional leads to the chains of mappings with conditions, specific translates to
// those of one address.
func (f familyInfo) conditional() []nft.Expr {
	return append(f.dstAndPort(), fromMap(f.name("conditions"), unix.NFT_REG_VERDICT))
}

func (f familyInfo) specific() []nft.Expr {
	return append(f.dstAndPort(), fromMap(f.name("addresses"), reg(0)), f.dnat())
}

// byLink are the mappings of one address with listeners that are bound to links: what comes
// in by those is left to them. Only what is for such a mapping is led here, by the map of
// conditions, so that nobody else pays for it.
func (f familyInfo) byLink() [][]nft.Expr {
	return [][]nft.Expr{
		rule(f.only(), one(meta(unix.NFT_META_IIFNAME, 0), payload(unix.NFT_PAYLOAD_NETWORK_HEADER, f.dst, f.addrLen(), 4)), protoAndPort(4+f.words),
			one(inSet(f.name("bylink")), verdict(nft.Return, ""))),
		f.specific(),
	}
}

// postrouting leads to masquerading only what has been translated.
func postrouting() [][]nft.Expr {
	return [][]nft.Expr{rule(translated(), one(verdict(nft.Jump, "masquerading")))}
}

func masquerading() [][]nft.Expr {
	const network = unix.NFT_PAYLOAD_NETWORK_HEADER
	v4 := info(hostport.IPv4)
	var out [][]nft.Expr
	for _, p := range []hostport.Proto{hostport.TCP, hostport.UDP, hostport.SCTP} {
		for _, fam := range hostport.Families() {
			f := info(fam)
			// The exact set first: it passes by all that is not for a hostPort.
			out = append(out, rule(only(p), f.only(), one(payload(network, f.dst, f.addrLen(), 0), meta(unix.NFT_META_L4PROTO, f.words),
				ctOriginal(unix.NFT_CT_PROTO_DST, f.words+1), inSet(f.name("masquerade")),
				ctOriginal(f.ctDst, 0), payload(network, f.src, f.addrLen(), f.words), payload(network, f.dst, f.addrLen(), 2*f.words),
				inSet(f.name("neighbours")), masquerade())))
		}
		out = append(out, rule(only(p), v4.from(loopbackNet), one(meta(unix.NFT_META_OIFNAME, 0), ctOriginal(unix.NFT_CT_DST_IP, 4), payload(network, v4.dst, 4, 5),
			meta(unix.NFT_META_L4PROTO, 6), ctOriginal(unix.NFT_CT_PROTO_DST, 7), inSet(setLinks), masquerade())))
	}
	return out
}

const (
	loopbackNet = "127.0.0.0/8"
	loopbackV6  = "::1/128"
	linkLocal   = "fe80::/10"
)

// neverWildcard are the destinations that no wildcard mapping matches (see
// hostport.Attachment.Spared); 127.0.0.1 has a map of its own.
func neverWildcard(f hostport.Family) []string {
	if f == hostport.IPv4 {
		return []string{loopbackNet}
	}
	return []string{loopbackV6, linkLocal}
}
