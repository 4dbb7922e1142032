// SPDX-License-Identifier: Apache-2.0

package state

import (
	"path/filepath"
	"strings"
	"testing"
)

const self = "/proc/self/ns/net"

func TestAlive(t *testing.T) {
	now, err := StatNetns(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*Record)
		want   bool
	}{
		{"the namespace of ADD is alive", func(*Record) {}, true},
		{"one of another boot is dead", func(r *Record) { r.BootID = "before" }, false},
		{"one without a path is dead", func(r *Record) { r.Netns.Path = "" }, false},
		{"one that is gone is dead", func(r *Record) { r.Netns.Path = "/run/netns/gone-for-good" }, false},
		{"another one at its path is another", func(r *Record) { r.Netns.Inode++ }, false},
		{"one on another device is another", func(r *Record) { r.Netns.Dev++ }, false},
		{"a plain file at its path is dead", func(r *Record) { r.Netns.Path = "/etc/passwd" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Record{Netns: now, BootID: "now"}
			tt.change(&r)
			if got := r.Alive("now"); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestStatNetns(t *testing.T) {
	n, err := StatNetns(self)
	if err != nil || n.Path != self || n.Inode == 0 {
		t.Errorf("got %+v, %v", n, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for path, says := range map[string]string{file: "is not a network namespace", "/nonexistent": "cannot be read", "": "cannot be read"} {
		if _, err := StatNetns(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error is %v, want %q", path, err, says)
		}
	}
}
