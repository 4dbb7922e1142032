// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// widths are the numbers of ports of a range, outermost first.
func widths() [3]int { return [3]int{4096, 256, 16} }

const rangePrefix = "PORTGUARD-"

// A span is a range of ports of one protocol.
type span struct {
	proto    hostport.Proto
	from, to int
}

// around is the span of that width that port is in.
func around(p hostport.Proto, port uint16, width int) span {
	from := int(port) / width * width
	return span{p, from, from + width - 1}
}

func (s span) chain() string {
	return fmt.Sprintf("%s%s-%d-%d", rangePrefix, strings.ToUpper(s.proto.String()), s.from, s.to)
}

// jump leads to the chain of s. It has no comment, which would be one more match.
func (s span) jump() string {
	p := s.proto.String()
	return iptsave.Join("-p", p, "-m", p, "--dport", fmt.Sprintf("%d:%d", s.from, s.to), "-j", s.chain())
}

// spanOf reads the name of a chain.
func spanOf(chain string) (s span, ok bool) {
	name, ok := strings.CutPrefix(chain, rangePrefix)
	f := strings.Split(name, "-")
	if !ok || len(f) != 3 {
		return s, false
	}
	var errs [3]error
	s.proto, errs[0] = hostport.ParseProto(strings.ToLower(f[0]))
	s.from, errs[1] = strconv.Atoi(f[1])
	s.to, errs[2] = strconv.Atoi(f[2])
	return s, errs == [3]error{} && s.chain() == chain
}
