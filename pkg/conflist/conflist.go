// SPDX-License-Identifier: Apache-2.0

// Package conflist edits the text of a network configuration list. What an edit is
// not about keeps its bytes. It is pure.
package conflist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/portguard/portguard/pkg/netconf"
)

// Types of plugins.
const (
	portguard = "portguard"
	portmap   = "portmap"
)

// A List is the text of a list, and where its plugins are.
type List struct {
	text    []byte
	plugins []plugin
}

// A plugin is one entry of a list.
type plugin struct {
	span
	kind string
	// Where the values of its keys are; a span is empty if there is no such key.
	typ, capabilities, protected span
}

// A span is a part of the text.
type span struct{ from, to int }

// Parse reads a list. Anything else, such as a single configuration, is an error.
func Parse(text []byte) (List, error) {
	l := List{text: text}
	if !json.Valid(text) {
		return l, errors.New("it is not valid JSON")
	}
	var found bool
	err := values(text, 0, func(key string, at span) error {
		if key != "plugins" {
			return nil
		}
		found, l.plugins = true, nil
		return elements(text, at, func(at span) error {
			p, err := entry(text, at)
			l.plugins = append(l.plugins, p)
			return err
		})
	})
	if err == nil && !found {
		err = ErrNoList
	}
	for _, kind := range []string{portmap, portguard} {
		if n := l.count(kind); err == nil && n > 1 {
			err = fmt.Errorf("it names %s %d times; one is enough", kind, n)
		}
	}
	return l, err
}

// ErrNoList says that a text is the configuration of a single plugin, or none at all.
var ErrNoList = errors.New(`it has no "plugins": portguard has a place only in a list`)

// entry reads one plugin.
func entry(text []byte, at span) (plugin, error) {
	p := plugin{span: at}
	err := values(text[:at.to], at.from, func(key string, v span) error {
		switch key {
		case "type":
			p.typ = v
			return json.Unmarshal(text[v.from:v.to], &p.kind)
		case "capabilities":
			p.capabilities = v
		case "protectedPorts":
			p.protected = v
		}
		return nil
	})
	return p, err
}

func (l List) count(kind string) (n int) {
	for _, p := range l.plugins {
		if p.kind == kind {
			n++
		}
	}
	return n
}

// find is the entry of a plugin, -1 without one.
func (l List) find(kind string) int {
	return slices.IndexFunc(l.plugins, func(p plugin) bool { return p.kind == kind })
}

// HasPortmap reports whether the list names portmap.
func (l List) HasPortmap() bool { return l.find(portmap) >= 0 }

// HasPortguard reports whether the list names portguard.
func (l List) HasPortguard() bool { return l.find(portguard) >= 0 }

// Plain is the list without portguard.
func (l List) Plain() []byte {
	i := l.find(portguard)
	if i < 0 {
		return l.text
	}
	cut := l.plugins[i].span
	switch {
	case i > 0:
		cut.from = l.plugins[i-1].to
	case len(l.plugins) > 1:
		cut.to = l.plugins[1].from
	}
	return splice(l.text, cut, "")
}

// Guarded is the list with portguard in portmap's place, with all its keys. Ports that it
// does not protect by itself are protected. An entry that portguard would refuse is an
// error: with it no pod could start.
func (l List) Guarded(protect []string) ([]byte, error) {
	l, err := Parse(l.Plain())
	if err != nil {
		return nil, err
	}
	i := l.find(portmap)
	if i < 0 {
		return nil, errors.New("it does not name portmap")
	}
	p := l.plugins[i]
	keys := `"` + portguard + `"`
	if len(protect) > 0 && p.protected == (span{}) {
		ports, err := json.Marshal(protect)
		if err != nil {
			return nil, err
		}
		keys += `, "protectedPorts": ` + string(ports)
	}
	out := splice(l.text, p.typ, keys)
	if l, err = Parse(out); err != nil {
		return nil, err
	}
	p = l.plugins[i]
	if _, err := netconf.Parse(out[p.from:p.to]); err != nil {
		return nil, fmt.Errorf("portguard does not take what portmap's entry says: %w", err)
	}
	return out, nil
}

// Leaving is the list with portguard behind portmap, as now configures it but told of no
// ports: new pods are portmap's, and a DEL of those that portguard has mapped reaches it.
func (l List) Leaving(now List) ([]byte, error) {
	l, err := Parse(l.Plain())
	if err != nil {
		return nil, err
	}
	i, j := l.find(portmap), now.find(portguard)
	if i < 0 || j < 0 {
		return nil, errors.New("one of the two does not name its plugin")
	}
	p := now.plugins[j]
	text := string(now.text[p.from:p.to])
	if c := p.capabilities; c != (span{}) {
		text = string(splice([]byte(text), span{c.from - p.from, c.to - p.from}, "{}"))
	}
	end := l.plugins[i].to
	return splice(l.text, span{end, end}, ", "+text), nil
}

// Same reports whether two lists say the same but for portmap and portguard.
func Same(a, b List) bool {
	x, err1 := a.others()
	y, err2 := b.others()
	return err1 == nil && err2 == nil && reflect.DeepEqual(x, y)
}

// others is what the list says, without portmap and portguard.
func (l List) others() (map[string]any, error) {
	var m map[string]any
	err := json.Unmarshal(l.text, &m)
	var rest []any
	for _, p := range l.plugins {
		var v any
		if p.kind != portmap && p.kind != portguard {
			err = errors.Join(err, json.Unmarshal(l.text[p.from:p.to], &v))
			rest = append(rest, v)
		}
	}
	if m != nil {
		m["plugins"] = rest
	}
	return m, err
}

// splice puts a text in the place of another.
func splice(text []byte, at span, by string) []byte {
	return slices.Concat(text[:at.from], []byte(by), text[at.to:])
}

// values calls f with each key of the object that begins at from.
func values(text []byte, from int, f func(string, span) error) error {
	d := json.NewDecoder(bytes.NewReader(text[from:]))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errors.New("it is no object"), err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		at, err := next(d, from)
		if err != nil {
			return err
		}
		if err := f(key.(string), at); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	return nil
}

// elements calls f with each element of an array.
func elements(text []byte, in span, f func(span) error) error {
	d := json.NewDecoder(bytes.NewReader(text[in.from:in.to]))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.Join(errors.New("it is no array"), err)
	}
	for d.More() {
		at, err := next(d, in.from)
		if err != nil {
			return err
		}
		if err := f(at); err != nil {
			return err
		}
	}
	return nil
}

// next is where the next value of a decoder is, whose text begins at from.
func next(d *json.Decoder, from int) (span, error) {
	var v json.RawMessage
	err := d.Decode(&v)
	to := from + int(d.InputOffset())
	return span{to - len(v), to}, err
}
