// SPDX-License-Identifier: Apache-2.0

package xt

import (
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
	var dims []string
	for n := range i.Data[2] {
		dims = append(dims, map[bool]string{true: "src", false: "dst"}[flags&(2<<n) != 0])
	}
	out := []iptsave.Option{option(flags&inverted != 0, "--match-set", strconv.Itoa(int(i.u16(0))), strings.Join(dims, ","))}
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
