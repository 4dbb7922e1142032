// SPDX-License-Identifier: Apache-2.0

package conflist

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	old = `{
  "name": "net", "cniVersion": "1.0.0",
  "plugins": [
    {"type": "bridge", "mtu": 1450},
    { "capabilities" : {"portMappings": true}, "type" : "portmap", "snat": true },
    {"type": "bandwidth"}
  ]
}
`
	guarded = `{
  "name": "net", "cniVersion": "1.0.0",
  "plugins": [
    {"type": "bridge", "mtu": 1450},
    { "capabilities" : {"portMappings": true}, "type" : "portguard", "protectedPorts": ["22/tcp"], "snat": true },
    {"type": "bandwidth"}
  ]
}
`
	leaving = `{
  "name": "net", "cniVersion": "1.0.0",
  "plugins": [
    {"type": "bridge", "mtu": 1450},
    { "capabilities" : {"portMappings": true}, "type" : "portmap", "snat": true }, { "capabilities" : {}, "type" : "portguard", "protectedPorts": ["22/tcp"], "snat": true },
    {"type": "bandwidth"}
  ]
}
`
)

func parse(t *testing.T, text string) List {
	t.Helper()
	l, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// equal fails unless an edit gave what was wanted.
func equal(t *testing.T, what, want string) func([]byte, error) {
	return func(got []byte, err error) {
		t.Helper()
		if d := cmp.Diff(want, string(got)); err != nil || d != "" {
			t.Errorf("%s: %v %s", what, err, d)
		}
	}
}

// From each of the three lists every other one is made.
func TestEdits(t *testing.T) {
	protect := []string{"22/tcp"}
	o, g, l := parse(t, old), parse(t, guarded), parse(t, leaving)
	equal(t, "portmap to portguard", guarded)(o.Guarded(protect))
	equal(t, "leaving to portguard", guarded)(l.Guarded(protect))
	equal(t, "portguard to leaving", leaving)(o.Leaving(g))
	equal(t, "leaving to leaving", leaving)(l.Leaving(l))
	equal(t, "leaving to portmap", old)(l.Plain(), nil)
	equal(t, "portmap to portmap", old)(o.Plain(), nil)
	for _, tt := range []struct {
		l                  List
		portmap, portguard bool
	}{{o, true, false}, {g, false, true}, {l, true, true}} {
		if tt.l.HasPortmap() != tt.portmap || tt.l.HasPortguard() != tt.portguard || !Same(tt.l, o) || !Same(o, tt.l) {
			t.Errorf("%s\nportmap %v, portguard %v", tt.l.text, tt.l.HasPortmap(), tt.l.HasPortguard())
		}
	}
}

// Ports that the entry protects by itself are its own affair.
func TestOwnProtectedPorts(t *testing.T) {
	l := parse(t, `{"plugins":[{"type":"portmap","protectedPorts":["80/tcp"]}]}`)
	equal(t, "own", `{"plugins":[{"type":"portguard","protectedPorts":["80/tcp"]}]}`)(l.Guarded([]string{"22/tcp"}))
	equal(t, "none", `{"plugins":[{"type":"portguard"}]}`)(parse(t, `{"plugins":[{"type":"portmap"}]}`).Guarded(nil))
}

// Without portguard a list stays one, wherever portguard was.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		`{"plugins":[{"type":"portguard"}, {"type":"a"}]}`:  `{"plugins":[{"type":"a"}]}`,
		`{"plugins":[{"type":"a"} , {"type":"portguard"}]}`: `{"plugins":[{"type":"a"}]}`,
		`{"plugins":[ {"type":"portguard"} ]}`:              `{"plugins":[  ]}`,
	} {
		equal(t, text, want)(parse(t, text).Plain(), nil)
	}
}

// What others changed meanwhile is noticed, how it is written does not matter.
func TestSame(t *testing.T) {
	o := parse(t, old)
	for text, want := range map[string]bool{
		strings.Replace(guarded, `"snat": true`, `"snat": false`, 1):             true,
		strings.Replace(guarded, `"name": "net", `, "\n\"name\" :\"net\",\n", 1): true,
		strings.Replace(guarded, "1450", "1400", 1):                              false,
		strings.Replace(guarded, `"net"`, `"other"`, 1):                          false,
		strings.Replace(guarded, `{"type": "bandwidth"}`, `{"type": "x"}`, 1):    false,
		`{"plugins": [{"type": "portmap"}]}`:                                     false,
	} {
		if got := Same(o, parse(t, text)); got != want {
			t.Errorf("%v for %s", got, text)
		}
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		``:                            "not valid JSON",
		`{"plugins": [`:               "not valid JSON",
		`[]`:                          "it is no object",
		`null`:                        "it is no object",
		`{"type": "bridge"}`:          `it has no "plugins"`,
		`{"plugins": {}}`:             `"plugins": it is no array`,
		`{"plugins": ["portmap"]}`:    `"plugins": it is no object`,
		`{"plugins": [{"type": 1}]}`:  `"plugins": "type": json`,
		`{"Plugins": []}`:             `it has no "plugins"`,
		`{"plugins": [{"type":"a"}]}`: "it does not name portmap",
		`{"plugins": []}`:             "it does not name portmap",
		`{"plugins": [{"type":"portmap","markMasqBit":99}]}`:          "portguard does not take what portmap's entry says: markMasqBit",
		`{"plugins": [{"type":"portmap"},{"type":"portmap"}]}`:        "it names portmap 2 times",
		`{"plugins": [{"type":"portguard"},{"type":"portguard"}]}`:    "it names portguard 2 times",
		`{"plugins": [{"type":"portmap","conditionsV4":["-j","X"]}]}`: "conditionsV4",
	} {
		l, err := Parse([]byte(text))
		if err == nil {
			_, err = l.Guarded(nil)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

// The lists that we ship are what comes of those that projects write.
func TestShipped(t *testing.T) {
	files, err := filepath.Glob("../../conflist/*.conflist")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		l := parse(t, string(b))
		before := strings.Replace(string(b), `"portguard"`, `"portmap"`, 1)
		got, err := parse(t, before).Guarded([]string{"1/tcp"})
		if equal(t, f, string(b))(got, err); !Same(l, parse(t, before)) {
			t.Errorf("%s: not the same", f)
		}
	}
}

// No text makes an edit panic or break the list.
func FuzzEdits(f *testing.F) {
	for _, s := range []string{old, guarded, leaving, `{"plugins":[{"type":"portmap"}],"plugins":[]}`, `{"plugins":[{"type":"portmap","type":"a"}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		if plain, err := Parse(l.Plain()); err != nil || plain.HasPortguard() || !Same(l, plain) {
			t.Errorf("plain: %v\n%s", err, plain.text)
		}
		out, err := l.Guarded([]string{"22/tcp"})
		if err != nil {
			return
		}
		g, err := Parse(out)
		if err != nil || !g.HasPortguard() || g.HasPortmap() || !Same(l, g) {
			t.Fatalf("guarded: %v\n%s", err, out)
		}
		out, err = l.Leaving(g)
		if err != nil {
			t.Fatal(err)
		}
		if both, err := Parse(out); err != nil || !both.HasPortguard() || !both.HasPortmap() || !Same(l, both) {
			t.Errorf("leaving: %v\n%s", err, out)
		}
	})
}
