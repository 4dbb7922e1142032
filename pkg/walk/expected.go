// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// Most packets have some things alike. Others may, and are doubtful: nothing that a rule does to
// these alone says what becomes of a hostPort.

// The flags of TCP are one byte of its header. ECN has other bits of it in some first packets.
const (
	flagsOffset = 13
	flagSYN     = 2
)

// opens reports whether packets to be expected have SYN and no other flag. Conntrack takes those of
// a connection that it has forgotten for first ones, too.
func (x *run) opens(th *thread) bool {
	return x.p.Proto == hostport.TCP && x.first(th) && !strings.Contains(string(th.b.memory), byteAt(baseTransport, flagsOffset))
}

// arrives reports whether packets to be expected came by a link and were sent to this host's address
// there.
func (x *run) arrives(th *thread) bool {
	return (x.p.Hook == Prerouting || x.p.Hook == Ingress) && th.b.in.only != "lo" && !x.p.Answer && !x.p.Error && !th.b.doubtful
}

// opening reports whether a packet with SYN alone meets "--tcp-flags", with its negation.
func opening(o iptsave.Option) bool {
	if len(o.Values) != 2 {
		return o.Not
	}
	want := "NONE"
	if slices.Contains(strings.Split(o.Values[0], ","), "SYN") {
		want = "SYN"
	}
	return (o.Values[1] == want) != o.Not
}

// doubted is a thread of packets that may well not exist.
func (th thread) doubted() *thread {
	th.b.doubtful, th.open, th.altered = true, Unknown, true
	return &th
}

// expected loads a byte that most packets have, with zeros behind it.
func (x *run) expected(th *thread, dreg uint32, b byte) {
	other := th.doubted()
	other.regs.load(dreg, ofAnything, 0, 4)
	th.regs.store(dreg, []byte{b})
	x.stay(th)
	x.stay(other)
}

// surely goes on with packets that meet a condition or do not, but for some that are doubtful.
func (x *run) surely(th *thread, met bool) {
	other := th.doubted()
	if met {
		x.misses(other)
		x.stay(th)
		return
	}
	x.misses(th)
	x.stay(other)
}
