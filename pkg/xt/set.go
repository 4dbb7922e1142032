// SPDX-License-Identifier: Apache-2.0

package xt

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/iptsave"
)

// set reads struct xt_set_info_match_v1 to _v4. The set is named by its index, which the
// kernel tells the name of: "--match-set INDEX dst,src".
func set(i Info) ([]iptsave.Option, bool) {
	const (
		inverted      = 1 << 0 // IPSET_INV_MATCH; the bits above are IPSET_DIM_ONE_SRC and so on
		returnNomatch = 1 << 7 // IPSET_RETURN_NOMATCH, and IPSET_FLAG_RETURN_NOMATCH from revision 3 on
		maxDim        = 6
	)
	size := map[uint32]int{1: 4, 2: 4, 3: 44, 4: 44}[i.Rev]
	if size == 0 || !i.size(size) || i.Data[2] == 0 || i.Data[2] > maxDim {
		return nil, false
	}
	flags := i.Data[3]
	out := []iptsave.Option{option(flags&inverted != 0, "--match-set", strconv.Itoa(int(i.u16(0))), dimensions(i.Data[2], flags))}
	nomatch := i.Rev == 2 && flags&returnNomatch != 0
	if i.Rev >= 3 {
		nomatch = i.u32(40)&returnNomatch != 0
		packets, octets := 8, 24 // struct ip_set_counter_match0 begins with the comparison
		if i.Rev == 4 {
			packets, octets = 16, 32
		}
		if i.Data[packets] != 0 || i.Data[octets] != 0 {
			out = append(out, option(false, "--counters")) // --packets-eq and the like
		}
	}
	if nomatch {
		out = append(out, option(false, "--return-nomatch"))
	}
	return out, true
}

// Notes are the sets that the target SET adds packets to, and those that it takes them out of:
// struct xt_set_info_target_v1 to _v3 begin with an index, a number of dimensions and flags for
// each.
func Notes(i Info) (adds, dels []iptsave.Option) {
	if i.Name != "SET" || i.Rev < 1 || i.Rev > 3 || len(i.Data) < 8 {
		return nil, nil
	}
	at := func(from int) (out []iptsave.Option) {
		const none, maxDim = 65535, 6 // IPSET_INVALID_ID
		if i.u16(from) != none && i.Data[from+2] <= maxDim {
			out = append(out, option(false, "--match-set", strconv.Itoa(int(i.u16(from))), dimensions(i.Data[from+2], i.Data[from+3])))
		}
		return out
	}
	return at(0), at(4)
}

// dimensions say of each part of a member whether it is of the source.
func dimensions(n, flags byte) string {
	var dims []string
	for k := range n {
		dims = append(dims, map[bool]string{true: "src", false: "dst"}[flags&(2<<k) != 0])
	}
	return strings.Join(dims, ",")
}

// Recent is what a match on a list of addresses asks for.
type Recent struct {
	// Name is that of the list, By whose address it is about.
	Name, By string
	// Sets and Removes are set if it changes the list.
	Sets, Removes, Not bool
	// Hits is how often an address must have been seen.
	Hits uint32
}

// DecodeRecent reads struct xt_recent_mtinfo, and _v1, which ends in a mask.
func DecodeRecent(i Info) (r Recent, ok bool) {
	const check, invert, name, side, mask, sets, removes = 8, 9, 10, 210, 212, 2, 8 // XT_RECENT_SET and _REMOVE
	if i.Rev > 1 || len(i.Data) <= side {
		return r, false
	}
	text, _, _ := bytes.Cut(i.Data[name:side], []byte{0})
	r = Recent{Name: string(text), By: strconv.Itoa(int(i.Data[side])), Hits: i.u32(4), Not: i.Data[invert] != 0}
	if i.Rev == 1 && len(i.Data) >= mask+16 {
		r.By += hex.EncodeToString(i.Data[mask : mask+16])
	}
	r.Sets, r.Removes = i.Data[check]&sets != 0, i.Data[check]&removes != 0
	return r, true
}
