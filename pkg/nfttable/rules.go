// SPDX-License-Identifier: Apache-2.0

package nfttable

import (
	"encoding/binary"
	"slices"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A writer collects the rules of chains.
type writer struct {
	options options
	rules   map[string][]nft.Rule
}

func (w writer) add(chain string, parts ...[]nft.Expr) {
	w.rules[chain] = append(w.rules[chain], nft.Rule{Exprs: slices.Concat(parts...)})
}

// ifAsked adds an optional rule.
func (w writer) ifAsked(option, chain string, parts ...[]nft.Expr) {
	if w.options[option] {
		w.rules[chain] = append(w.rules[chain], nft.Rule{Comment: optionComment + option, Exprs: slices.Concat(parts...)})
	}
}

func one(e ...nft.Expr) []nft.Expr { return e }

// rules are those of chains, with the given optional ones.
func rules(o options) map[string][]nft.Rule {
	w := writer{o, map[string][]nft.Rule{}}
	w.bases()
	for _, f := range hostport.Families() {
		w.hostports(info(f))
	}
	w.loopback()
	w.masquerading()
	w.postrouting()
	w.guard()
	return w.rules
}

// bases lead to the hostPorts. To 127.0.0.1 only the node itself is led: what comes in
// for it the kernel drops when it routes, which is too late for what has been
// translated. (For ::1 it does so before, but not before a bridge's netfilter.) By
// loopback nothing new comes in: it has passed output.
func (w writer) bases() {
	v4, v6 := info(hostport.IPv4), info(hostport.IPv6)
	w.add("prerouting", v4.notTo("127.0.0.0/8"), localDestination(), one(verdict(nft.Jump, "hostports4")))
	w.add("prerouting", v6.notTo("::1/128"), localDestination(), one(verdict(nft.Jump, "hostports6")))
	w.add("output", v4.to("127.0.0.0/8"), one(verdict(nft.Goto, "loopback4")))
	w.add("output", v4.only(), localDestination(), one(verdict(nft.Jump, "hostports4")))
	w.add("output", v6.notTo("::1/128"), localDestination(), one(verdict(nft.Jump, "hostports6")))
}

// hostports are those at the node's addresses but loopback's.
func (w writer) hostports(f familyInfo) {
	chain := f.name("hostports")
	w.ifAsked(f.name("conditions"), chain, conditional(f))
	w.ifAsked(f.name("addresses"), chain, specific(f))
	if f.family == hostport.IPv6 {
		// Of one byte the kernel makes a faster comparison, and it is enough for most.
		w.add(chain, f.to("fe00::/8"), f.to(linkLocal)[len(f.only()):], one(verdict(nft.Return, "")))
	}
	w.ifAsked(f.name("spared"), chain, f.only(), protoAndPort(0),
		one(payload(networkHeader, f.dst, f.addrLen(), 2), inSet(f.name("spared")), verdict(nft.Return, "")))
	w.add(chain, protoAndPort(0), one(fromMap(f.name("ports"), false), dnat(f)))
}

// loopback are those at 127.0.0.0/8.
func (w writer) loopback() {
	f := info(hostport.IPv4)
	w.add("loopback4", conditional(f))
	w.add("loopback4", specific(f))
	w.add("loopback4", f.to("127.0.0.1/32"), protoAndPort(0), one(fromMap(setLocalhost, false), dnat(f)))
}

// conditional leads to the chains of mappings with conditions, specific translates to
// those of one address.
func conditional(f familyInfo) []nft.Expr {
	return append(f.dstAndPort(), fromMap(f.name("conditions"), true))
}

func specific(f familyInfo) []nft.Expr {
	return append(f.dstAndPort(), fromMap(f.name("addresses"), false), dnat(f))
}

func (w writer) masquerading() {
	const chain = "masquerading"
	v4 := info(hostport.IPv4)
	for _, p := range []hostport.Proto{hostport.TCP, hostport.UDP, hostport.SCTP} {
		for _, fam := range hostport.Families() {
			f := info(fam)
			// The exact set first: it passes by all that is not for a hostPort.
			w.add(chain, only(p), f.only(), one(payload(networkHeader, f.dst, f.addrLen(), 0), meta(metaL4proto, f.words),
				ctOriginal(ctProtoDst, f.words+1), inSet(f.name("masquerade")),
				ctOriginal(f.ctDst, 0), payload(networkHeader, f.src, f.addrLen(), f.words), payload(networkHeader, f.dst, f.addrLen(), 2*f.words),
				inSet(f.name("neighbours")), masquerade()))
		}
		w.add(chain, only(p), v4.from("127.0.0.0/8"), one(meta(metaOifname, 0), ctOriginal(ctDstIP, 4), payload(networkHeader, v4.dst, 4, 5),
			meta(metaL4proto, 6), ctOriginal(ctProtoDst, 7), inSet(setLinks), masquerade()))
	}
}

func (w writer) postrouting() {
	mapped := append(translated(), verdict(nft.Jump, "masquerading"))
	w.add("postrouting", info(hostport.IPv4).from("127.0.0.0/8"), mapped)
	for _, fam := range hostport.Families() {
		for _, p := range w.options.nears(fam) { // the address first: most packets are from elsewhere
			w.ifAsked(near+p.String(), "postrouting", info(fam).from(p.String()), mapped)
		}
	}
}

// guard keeps packets to and from 127.0.0.0/8 out of links with route_localnet, which
// lets in both. The gate is before every translation, and only new connections pass
// it. What is not new, or has no conntrack entry, is not translated to anywhere else:
// it comes by input, where what goes to pods does not pass. There an answer to the
// node itself, sent to another address of it, has been translated.
func (w writer) guard() {
	f := info(hostport.IPv4)
	to, from := f.to("127.0.0.0/8"), f.from("127.0.0.0/8")
	drop := one(meta(metaIifname, 0), inSet(setGuarded), verdict(nft.Drop, ""))
	w.add("gate", to, drop)
	w.add("gate", from, drop)
	w.add("guard", from, drop)
	w.add("guard", to, translated(), one(verdict(nft.Return, "")))
	w.add("guard", to, drop)
}

// translated is "ct status dnat".
func translated() []nft.Expr {
	dnatBit := binary.NativeEndian.AppendUint32(nil, 0x20) // IPS_DST_NAT
	return one(ct(ctStatus, 0), masked(dnatBit), differs(make([]byte, 4)))
}

const linkLocal = "fe80::/10"

// neverWildcard are the destinations that no wildcard mapping matches (see
// hostport.Attachment.Spared); 127.0.0.1 has a map of its own.
func neverWildcard(f hostport.Family) []string {
	if f == hostport.IPv4 {
		return []string{"127.0.0.0/8"}
	}
	return []string{"::1/128", linkLocal}
}
