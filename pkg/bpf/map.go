// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A Spec describes a map.
type Spec struct {
	Name                         string
	Type, Key, Value, Max, Flags uint32
}

// A Map is an open one.
type Map struct {
	FD         int
	ID         uint32
	key, value int
}

// NewMap makes a map, which goes when nobody has it open or pinned.
func NewMap(s Spec) (*Map, error) {
	attr := struct {
		typ, key, value, max, flags, inner, numa uint32
		name                                     [maxName + 1]byte
	}{typ: s.Type, key: s.Key, value: s.Value, max: s.Max, flags: s.Flags, name: named(s.Name)}
	fd, err := call(unix.BPF_MAP_CREATE, &attr)
	if err != nil {
		return nil, failed(err, "make map %s", s.Name)
	}
	return mapOf(fd, s)
}

// OpenMap opens a pinned map, which must be like that.
func OpenMap(path string, s Spec) (*Map, error) {
	fd, err := Open(path)
	if err != nil {
		return nil, err
	}
	m, err := mapOf(fd, s)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return m, err
}

// mapOf is the map of a file descriptor, which it closes if the map is not like that.
func mapOf(fd int, s Spec) (*Map, error) {
	var is struct{ typ, id, key, value, max, flags uint32 }
	err := info(fd, &is)
	if err == nil && (is.typ != s.Type || is.key != s.Key || is.value != s.Value) {
		err = errors.New("bpf: it is another kind of map")
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &Map{FD: fd, ID: is.id, key: int(s.Key), value: int(s.Value)}, nil
}

// Close closes it.
func (m *Map) Close() { _ = unix.Close(m.FD) }

// element is the attribute of what is done with one element.
type element struct {
	fd         uint32
	_          uint32
	key, value uint64
	_          uint64 // flags
}

func (m *Map) do(cmd int, key, value []byte) error {
	var mem memory
	defer mem.Unpin()
	attr := element{fd: uint32(m.FD), key: mem.at(key), value: mem.at(value)}
	_, err := call(cmd, &attr)
	return err
}

// Put adds an element or replaces it.
func (m *Map) Put(key, value []byte) error {
	return failed(m.do(unix.BPF_MAP_UPDATE_ELEM, key, value), "write element")
}

// Delete removes an element. One that is not there is success.
func (m *Map) Delete(key []byte) error {
	if err := m.do(unix.BPF_MAP_DELETE_ELEM, key, nil); !errors.Is(err, unix.ENOENT) {
		return failed(err, "remove element")
	}
	return nil
}

// Keys lists all keys. Nobody must remove elements meanwhile: the kernel would begin anew.
func (m *Map) Keys() (out [][]byte, err error) {
	var last []byte
	for {
		next := make([]byte, m.key)
		switch err := m.do(unix.BPF_MAP_GET_NEXT_KEY, last, next); {
		case errors.Is(err, unix.ENOENT):
			return out, nil
		case err != nil:
			return nil, failed(err, "list elements")
		}
		out, last = append(out, next), next
	}
}

// All calls f with each element of a hash: many are read with one call.
func (m *Map) All(f func(key, value []byte)) error {
	const most = 1024
	keys, values := make([]byte, most*m.key), make([]byte, most*m.value)
	in, out := make([]byte, max(m.key, 8)), make([]byte, max(m.key, 8))
	var mem memory
	defer mem.Unpin()
	var from uint64 // the first call has none
	for {
		attr := struct {
			in, out, keys, values uint64
			count, fd             uint32
			elemFlags, flags      uint64
		}{in: from, out: mem.at(out), keys: mem.at(keys), values: mem.at(values), count: most, fd: uint32(m.FD)}
		_, err := call(unix.BPF_MAP_LOOKUP_BATCH, &attr)
		end := errors.Is(err, unix.ENOENT)
		if err != nil && !end {
			return failed(err, "read elements")
		}
		for i := range int(attr.count) {
			f(keys[i*m.key:(i+1)*m.key], values[i*m.value:(i+1)*m.value])
		}
		if end {
			return nil
		}
		copy(in, out)
		from = mem.at(in)
	}
}
