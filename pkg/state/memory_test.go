// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"os"
	"testing"
)

func TestMemory(t *testing.T) {
	s := Open(t.TempDir())
	if s.Remembers() || s.Recall(7, "node", "purpose") != nil || s.Carry(7, 8, "node") == nil {
		t.Error("something is remembered that nobody told")
	}
	what := []byte("rules\nand more\x00")
	if err := s.Remember(7, "node", "purpose", what); err != nil {
		t.Fatal(err)
	}
	if got := s.Recall(7, "node", "purpose"); !bytes.Equal(got, what) || !s.Remembers() {
		t.Errorf("got %q", got)
	}
	for _, other := range []struct {
		generation    uint32
		node, purpose string
	}{{8, "node", "purpose"}, {7, "nod", "purpose"}, {7, "node", "purpos"}, {7, "node", "purpose2"}, {7, "node2", "purpose"}, {7, "", "purpose"}} {
		if got := s.Recall(other.generation, other.node, other.purpose); got != nil {
			t.Errorf("%v: got %q", other, got)
		}
	}
	if len(s.Keys()) != 0 {
		t.Errorf("the memory is taken for the record of %v", s.Keys())
	}
}

// Only what was true before a transaction, on this node, is true after it.
func TestCarry(t *testing.T) {
	s := Open(t.TempDir())
	what := []byte("rules")
	if err := s.Remember(7, "node", "purpose", what); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []struct {
		from uint32
		node string
	}{{6, "node"}, {8, "node"}, {7, "other"}, {7, "nodes"}} {
		if err := s.Carry(wrong.from, 9, wrong.node); err != nil {
			t.Error(err)
		}
		if s.Recall(9, "node", "purpose") != nil || s.Recall(7, "node", "purpose") == nil {
			t.Errorf("%v is carried", wrong)
		}
	}
	if err := s.Carry(7, 8, "node"); err != nil {
		t.Error(err)
	}
	if got := s.Recall(8, "node", "purpose"); !bytes.Equal(got, what) || s.Recall(7, "node", "purpose") != nil {
		t.Errorf("got %q", got)
	}
}

// A memory that is too big is not kept, and does not hurt the one that is there; a
// broken one is none.
func TestBadMemory(t *testing.T) {
	s := Open(t.TempDir())
	if err := s.Remember(7, "node", "purpose", []byte("rules")); err != nil {
		t.Fatal(err)
	}
	if err := s.Remember(8, "node", "purpose", make([]byte, maxMemory+1)); err != nil {
		t.Error(err)
	}
	if s.Recall(8, "node", "purpose") != nil || s.Recall(7, "node", "purpose") == nil {
		t.Error("one that is too big is kept")
	}
	whole, err := os.ReadFile(s.memory())
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if err := os.WriteFile(s.memory(), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.Recall(7, "node", "purpose"); got != nil {
			t.Errorf("%d bytes: %q", n, got)
		}
		if err := s.Carry(7, 8, "node"); err == nil && n < headLength {
			t.Errorf("%d bytes are carried", n)
		}
	}
	for n := range whole { // one bit
		whole[n] ^= 4
		if err := os.WriteFile(s.memory(), whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.Recall(7, "node", "purpose"); got != nil {
			t.Errorf("byte %d is another: %q", n, got)
		}
		whole[n] ^= 4
	}
	if err := os.Remove(s.memory()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", s.memory()); err != nil {
		t.Fatal(err)
	}
	if s.Recall(7, "node", "purpose") != nil || s.Carry(7, 8, "node") == nil {
		t.Error("a link is followed")
	}
	if err := s.Remember(7, "node", "purpose", []byte("rules")); err != nil || s.Recall(7, "node", "purpose") == nil {
		t.Errorf("a link is not replaced: %v", err)
	}
}
