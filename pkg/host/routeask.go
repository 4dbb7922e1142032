// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/way"
)

// routeRequest asks for the route of a packet that comes in by a link, 0 for the node's own. It
// is netlink.RouteGetWithOptions with the protocol and the ports, for which rules may ask.
func routeRequest(q way.Route, in int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_REQUEST)
	msg := &nl.RtMsg{}
	msg.Family, msg.Dst_len, msg.Flags = unix.AF_INET, uint8(q.Dst.BitLen()), unix.RTM_F_LOOKUP_TABLE
	if q.Dst.Is6() {
		msg.Family = unix.AF_INET6
	}
	if q.Src.IsValid() {
		msg.Src_len = uint8(q.Src.BitLen())
	}
	req.AddData(msg)
	attr := func(set bool, typ int, value []byte) {
		if set {
			req.AddData(nl.NewRtAttr(typ, value))
		}
	}
	u32 := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	u16 := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	attr(true, unix.RTA_DST, q.Dst.AsSlice())
	attr(in != 0, unix.RTA_IIF, u32(uint32(in)))
	attr(q.Src.IsValid(), unix.RTA_SRC, q.Src.AsSlice())
	attr(q.Mark != 0, unix.RTA_MARK, u32(q.Mark))
	attr(q.Proto != 0, unix.RTA_IP_PROTO, []byte{byte(q.Proto)})
	attr(q.Sport != 0, unix.RTA_SPORT, u16(q.Sport))
	attr(q.Dport != 0, unix.RTA_DPORT, u16(q.Dport))
	return req
}

// askRoute asks the kernel by which link a packet leaves, and whether to a gateway.
func askRoute(q way.Route, in int) (out int, gateway bool, err error) {
	msgs, err := routeRequest(q, in).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return 0, false, err
	}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[min(len(m), unix.SizeofRtMsg):])
		if err != nil {
			return 0, false, err
		}
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.RTA_OIF:
				if len(a.Value) >= 4 {
					out = int(binary.NativeEndian.Uint32(a.Value))
				}
			case unix.RTA_GATEWAY, unix.RTA_VIA:
				gateway = true
			}
		}
	}
	return out, gateway, nil
}

// as is a question without what no rule asks for: the ports of a pod have the answer in common
// then. Of SCTP the kernel takes no question (rtm_getroute_parse_ip_proto).
func (r *Router) as(q way.Route) (way.Route, error) {
	if r.ported == nil {
		ported, err := portedRules()
		if err != nil {
			return q, err
		}
		r.ported = &ported
	}
	if !*r.ported || q.Proto != hostport.TCP && q.Proto != hostport.UDP {
		q.Proto, q.Sport, q.Dport = 0, 0, 0
	}
	return q, nil
}

// portedRules reports whether a rule of policy routing asks for protocols or ports.
func portedRules() (bool, error) {
	msgs, err := fibRules()
	if errors.Is(err, unix.EOPNOTSUPP) { // no policy routing in this kernel
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return asksForPorts(msgs)
}

func asksForPorts(msgs [][]byte) (bool, error) {
	for _, m := range msgs {
		r, err := decodeRule(m)
		if err != nil {
			return false, err
		}
		if r.Proto != 0 || r.Ports != [2]uint16{} || slices.Contains(r.others, sourcePorts) {
			return true, nil
		}
	}
	return false, nil
}

// barred reports whether the rules and routes for a packet lead nowhere, wherever it comes from.
func barred(q way.Route) bool {
	if _, err := netlink.RouteGet(q.Dst.AsSlice()); routeless(err) {
		return true
	}
	_, _, err := askRoute(way.Route{Dst: q.Dst, Mark: q.Mark, Proto: q.Proto, Sport: q.Sport, Dport: q.Dport}, 0)
	return routeless(err)
}
