// SPDX-License-Identifier: Apache-2.0

package legacy_test

import (
	"bytes"
	"flag"
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/legacy"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// A damaged table is one of which something is wrong; said are the errors, by what is the
// same wherever the damage is.
type damaged struct {
	whole []byte
	said  map[string]string
	place *regexp.Regexp
}

func (d *damaged) add(err error) {
	if err == nil {
		return
	}
	kind := d.place.ReplaceAllString(err.Error(), "N")
	if _, known := d.said[kind]; !known {
		d.said[kind] = err.Error()
	}
}

// with reads the table with something else in one place.
func (d *damaged) with(at int, other ...byte) {
	b := bytes.Clone(d.whole)
	copy(b[at:], other)
	table, err := decode(hostport.IPv4, b[:legacy.InfoSize], b[legacy.InfoSize:])
	d.add(err)
	if err != nil {
		return
	}
	for _, c := range table.Chains() {
		_, err = table.Rules(c)
		d.add(err)
	}
}

func TestMessages(t *testing.T) {
	info, entries, _ := dump(t, hostport.IPv4)
	d := &damaged{append(bytes.Clone(info), entries...), map[string]string{}, regexp.MustCompile(`\b(0x)?[0-9a-f]*\d[0-9a-f]*\b|"[^"]*"|nat [A-Z-]+,`)}
	for at, b := range d.whole {
		for _, flip := range []byte{1, 8, 0x10, 0xff} {
			d.with(at, b^flip)
		}
	}
	const prerouting, input = 36, 40 // where these hooks enter
	d.with(input, d.whole[prerouting:input]...)
	mark := append([]byte("ERROR"), make([]byte, 25)...)
	chain := func(name string) int { return bytes.Index(d.whole, append(bytes.Clone(mark), name...)) + len(mark) }
	empty := chain("EMPTY")
	d.with(empty, 0)
	d.with(chain("X\x00"), []byte("EMPTY")...)
	ends := empty + bytes.Index(d.whole[empty:], []byte{40, 0, 0}) // its RETURN has 40 bytes and no name
	d.with(ends+2, mark...)
	_, err := decode(hostport.IPv4, info, entries[1:])
	d.add(err)
	_, err = decode(hostport.IPv4, info[1:], entries)
	d.add(err)
	m := golden.New(t)
	m.Section("tables of iptables-legacy that are not as iptables makes them")
	for _, kind := range slices.Sorted(maps.Keys(d.said)) {
		m.Add("109", d.said[kind])
	}
	m.Section("a chain that is not there")
	_, err = table(t, hostport.IPv4).Rules("NONE")
	m.Add("109", err.Error())
	m.Check(*update)
}
