// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"encoding/binary"

	"github.com/portguard/portguard/pkg/nft"
)

// Keys of ct, and bits of its state (NF_CT_STATE_BIT).
const (
	ctState    = 0
	ctDir      = 1
	ctStatus   = 2
	ctMark     = 3
	ctL3proto  = 7
	ctSrc      = 8
	ctDst      = 9
	ctProtocol = 10
	ctProtoDst = 12
	ctLabels   = 13
	ctZone     = 17
	ctSrcIP    = 19
	ctDstIP    = 20
	ctSrcIP6   = 21
	ctDstIP6   = 22

	stateInvalid     = 1
	stateEstablished = 2
	stateRelated     = 4
	stateNew         = 8
	stateUntracked   = 64

	// Bits of its status (enum ip_conntrack_status).
	statusSeenReply = 1 << 1
	statusConfirmed = 1 << 3
	statusSrcNAT    = 1 << 4
	statusDstNAT    = 1<<5 | 1<<8 // IPS_DST_NAT and IPS_DST_NAT_DONE
	statusSrcDone   = 1 << 7      // of all that a chain of type nat saw at postrouting
)

// ct: the packets open a connection, or answer one that was translated. Of one that is not
// there only the state is told (nft_ct_get_eval).
func (x *run) ct(th *thread, a nft.Attrs) {
	key, _ := a.Num(2)
	none := x.unconnected(th.b)
	switch sreg, set := a.Num(4); {
	case set:
		x.setCt(th, key, sreg)
		return
	case none && key != ctState:
		x.misses(th)
		return
	}
	dreg, _ := a.Num(1)
	dir, directed := a.Get(3)
	original := !directed || len(dir) == 1 && dir[0] == 0
	th.regs.load(dreg, ofAnything, 0, 16)
	switch {
	case key != ctState && x.templated(th.b):
	case key == ctState:
		th.regs.store(dreg, binary.NativeEndian.AppendUint32(nil, x.state(th.b)))
	case key == ctMark:
		x.r.ctMark = true
		th.regs.loadMark(dreg, ofCtMark, th.b.ctMark)
	case key == ctStatus && !x.p.Later:
		th.regs.loadStatus(dreg, x.p)
	case key == ctDir && x.p.Answer:
		th.regs.store(dreg, []byte{1})
	case key == ctDir:
		th.regs.store(dreg, []byte{0})
	case key == ctZone && x.first(th) && !th.b.template && !x.p.Beside: // chains that set zones only are not asked then
		x.expected(th, dreg, 0)
		return
	case key == ctL3proto:
		th.regs.store(dreg, []byte{x.family()})
	case key == ctProtocol:
		th.regs.store(dreg, []byte{uint8(x.p.Proto)})
	case key == ctLabels:
		x.written(th, dreg, inLabels, 16)
	case original:
		x.asked(th, dreg, key)
	}
	x.stay(th)
}

// asked loads what the first packet of a connection was sent from and to.
func (x *run) asked(th *thread, dreg, key uint32) {
	size := 16
	if x.family() == nft.IPv4 {
		size = 4
	}
	switch {
	case key == ctProtoDst:
		th.regs.storePort(dreg, x.p.Port, 0, 2)
	case key == ctSrc, key == ctSrcIP && size == 4, key == ctSrcIP6 && size == 16:
		th.regs.load(dreg, ofSrc, 0, size)
	case key == ctDst, key == ctDstIP && size == 4, key == ctDstIP6 && size == 16:
		th.regs.load(dreg, ofDst, 0, size)
	}
}

// loadStatus puts the status of the connection into a slot. Whether somebody masqueraded one that
// is answered is open: portguard does it for the node's own, and for pods.
func (r *registers) loadStatus(reg uint32, p Packet) {
	r.store(reg, binary.NativeEndian.AppendUint32(nil, p.status()))
	if i, ok := index(reg); ok && p.Answer {
		r[i].of = ofHeader
		binary.NativeEndian.PutUint32(r[i].mask[:], statusSrcNAT)
	}
}

// status is that of the connection, as far as it is known.
func (p Packet) status() uint32 {
	switch {
	case p.Answer:
		return statusSeenReply | statusConfirmed | statusDstNAT | statusSrcDone
	case p.Moved:
		return statusDstNAT
	}
	return 0 // no reply was seen, nothing translated or confirmed
}

// setCt sets something of the connection, if there is one. What a template is given is not
// followed.
func (x *run) setCt(th *thread, key, sreg uint32) {
	switch {
	case key == ctZone:
		x.attach(th)
	case x.unconnected(th.b), x.templated(th.b):
	case key == ctMark:
		th.b.ctMark, th.altered = newMark(th.b, th.regs.take(sreg, 4)), true
	case key == ctLabels:
		x.wrote(th, inLabels, 0, 16, th.regs.take(sreg, 16))
	}
	x.stay(th)
}

// unconnected reports whether packets have no connection, and no template of one.
func (x *run) unconnected(b box) bool { return b.untracked || x.p.Early && !b.template }

// templated reports whether all that packets have is a template.
func (x *run) templated(b box) bool { return x.p.Early && b.template && !b.untracked }

// attach gives packets a template that have no connection yet (xt_ct_target, nft_ct_set_zone_eval).
func (x *run) attach(th *thread) {
	if x.p.Early && !th.b.untracked {
		th.b.template, th.altered = true, true
	}
}

// state is what conntrack says of packets.
func (x *run) state(b box) uint32 {
	switch {
	case b.untracked:
		return stateUntracked
	case x.templated(b):
		return stateNew
	case x.p.Early:
		return stateInvalid
	case x.p.Error:
		return stateRelated
	case b.answered, x.p.Answer:
		return stateEstablished
	}
	return stateNew
}

// untrack takes packets out of conntrack, if that has not seen them yet, and they have no
// template (nft_notrack_eval).
func (x *run) untrack(th *thread) {
	if x.p.Early && !th.b.template {
		x.out(th, untracks, "notrack", "", false)
		th.b.untracked, th.altered = true, true
	}
	x.stay(th)
}
