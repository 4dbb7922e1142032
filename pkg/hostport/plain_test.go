// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlain(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"nginx", "nginx"},
		{"naïve 日本", "naïve 日本"},
		{"\x1b[31mred\x1b[0m", "\uFFFD[31mred\uFFFD[0m"},
		{"a\tb\rc\nd\x00e\x7f", "a\uFFFDb\uFFFDc\uFFFDd\uFFFDe\uFFFD"},
		{"\u009b31m", "\uFFFD31m"},
		{"\x9b31m", "\uFFFD31m"},
		{"\u202egnp.exe\u2028\u2066", "\uFFFDgnp.exe\uFFFD\uFFFD"},
	} {
		if got := Plain(tt.in); got != tt.want {
			t.Errorf("Plain(%q) is %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestLine(t *testing.T) {
	long := "what is wrong: " + strings.Repeat("é", 1000) + "; what to do"
	for _, tt := range []struct{ in, want string }{
		{"one", "one"},
		{"", ""},
		{"one\ntwo\n", "one; two"},
		{"one\r\n\n\x1btwo", "one\uFFFD; \uFFFDtwo"},
		{strings.Repeat("x", maxLine), strings.Repeat("x", maxLine)},
	} {
		if got := Line(tt.in); got != tt.want {
			t.Errorf("Line(%q) is %q, want %q", tt.in, got, tt.want)
		}
	}
	got := Line(long)
	if n := utf8.RuneCountInString(got); n != maxLine || !utf8.ValidString(got) || Line(got) != got {
		t.Errorf("%d characters: %q", n, got)
	}
	if !strings.HasPrefix(got, "what is wrong: ") || !strings.HasSuffix(got, "; what to do") {
		t.Errorf("the middle was not what was cut: %q", got)
	}
}
