// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"strings"
	"unicode"
)

// Plain replaces what a terminal would obey: control characters, those that change
// the direction of writing, bytes that are no UTF-8. What processes, pods, links and
// rules are called is somebody else's choice.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// maxLine is how many characters a message has at most. The message of an event holds
// 1024 bytes, with the words of the runtime and of the kubelet.
const maxLine = 400

// Line makes a message one plain line. One that is too long loses its middle: it says
// at the start what is wrong and at the end what to do.
func Line(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' }) // errors.Join
	r := []rune(Plain(strings.Join(lines, "; ")))
	if len(r) <= maxLine {
		return string(r)
	}
	const gap, tail = " ... ", maxLine / 3
	return string(r[:maxLine-tail-len(gap)]) + gap + string(r[len(r)-tail:])
}
