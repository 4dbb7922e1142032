// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// store opens a directory that does not exist yet, as after a boot.
func store(t *testing.T) *Store {
	t.Helper()
	return Open(filepath.Join(t.TempDir(), "portguard"))
}

func created(t *testing.T) *Store {
	t.Helper()
	s := store(t)
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func record(id string) Record {
	return Record{
		Attachment: hostport.Attachment{
			Owner:    hostport.Owner{Network: "n", ContainerID: id, IfName: "eth0", PodNamespace: "default", PodName: "web"},
			Pods:     []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd00::2/64")},
			Mappings: []hostport.Mapping{{Family: 4, HostIP: netip.MustParseAddr("192.0.2.1"), Proto: hostport.UDP, HostPort: 53, ContainerPort: 5353}, {Family: 6, Proto: hostport.SCTP, HostPort: 1, ContainerPort: 2}},
			Carves:   []hostport.Carve{{Addr: netip.MustParseAddr("127.0.0.1"), Proto: hostport.TCP, Port: 80}},
			Excludes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
			SNAT:     true, MasqAll: true, Localhost: true, Link: "v\xff\"%", ConditionsV4: []string{"-s", "::1"}, ConditionsV6: []string{"!"},
		},
		Netns: Netns{Path: "/run/netns/x", Dev: 4, Inode: 4026531840}, BootID: "b", Backend: "iptables", Wanted: "auto", Warnings: []string{"w"},
	}
}

func compare() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}) }

func TestSaveThenLoad(t *testing.T) {
	s, r := created(t), record("a")
	key := r.Attachment.Owner.Key()
	if s.Has(key) {
		t.Error("a record is there before the first")
	}
	if _, err := s.Load(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want ErrNotExist", err)
	}
	if err := s.Save(r); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(key)
	if err != nil {
		t.Fatal(err)
	}
	r.Version = 2
	if diff := cmp.Diff(&r, got, compare()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	r.BootID = "c"
	if err := s.Save(r); err != nil {
		t.Fatal(err)
	}
	if got, err = s.Load(key); err != nil || got.BootID != "c" {
		t.Errorf("replaced: %+v, %v", got, err)
	}
	if err := s.Save(record("b")); err != nil {
		t.Fatal(err)
	}
	less := func(a, b string) bool { return a < b }
	want := []string{key, record("b").Attachment.Owner.Key()}
	if diff := cmp.Diff(want, s.Keys(), cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("keys (-want +got)\n%s", diff)
	}
	entries, _ := os.ReadDir(s.dir)
	if len(entries) != 2 {
		t.Errorf("temporary files are left: %v", entries)
	}
	for range 2 { // what is gone already is success
		if err := s.Delete(key); err != nil {
			t.Error(err)
		}
	}
	if s.Has(key) || !s.Has(want[1]) {
		t.Error("the wrong record was deleted")
	}
}

func TestLoadReadsVersion1(t *testing.T) {
	for old, want := range map[string][2]string{
		`"backend":"nftables","flavour":""`:       {"nftables", "auto"},
		`"backend":"iptables","flavour":"nft"`:    {"iptables-nft", "iptables"},
		`"backend":"iptables","flavour":"legacy"`: {"iptables-legacy", "iptables"},
	} {
		s := created(t)
		file := `{"version":1,"attachment":{"link":"veth1","mappings":[]},"netns":{"path":"/run/netns/x"},"bootID":"b",` + old + `,"moved":true,"localnetWas":true}`
		if err := os.WriteFile(s.file(hostport.Owner{}.Key()), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.Load(hostport.Owner{}.Key())
		if err != nil || [2]string{r.Backend, r.Wanted} != want || r.BootID != "b" || r.Version != version {
			t.Errorf("%s: %+v, %v", old, r, err)
		}
	}
}

func TestLoadRefusesWhatItCannotRead(t *testing.T) {
	for _, tt := range []struct{ name, text, says string }{
		{"an empty file", "", "unexpected end"},
		{"a cut file", `{"version":2,"attach`, "unexpected end"},
		{"a version of the future", `{"version":3}`, "version 3 is not known"},
		{"no version", `{}`, "version 0 is not known"},
		{"another type", `{"version":2,"bootID":7}`, "cannot unmarshal"},
		{"an unknown protocol", `{"version":2,"attachment":{"mappings":[{"protocol":"icmp"}]}}`, "icmp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := created(t)
			write(t, s.file("K"), tt.text)
			if _, err := s.Load("K"); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
			if !s.Has("K") {
				t.Error("an unreadable record counts as none")
			}
			if err := s.Delete("K"); err != nil || s.Has("K") {
				t.Errorf("it cannot be deleted: %v", err)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSaveWithoutADirectoryFails(t *testing.T) {
	s := store(t)
	if err := s.Save(record("a")); err == nil {
		t.Error("a record was written nowhere")
	}
	if s.Keys() != nil {
		t.Error("records are listed of nowhere")
	}
	if err := s.Delete("K"); err != nil {
		t.Error(err)
	}
}

// The record of a pod that has all ports of all protocols can be read, a file with a
// hole cannot.
func TestSizeOfRecords(t *testing.T) {
	s, r := created(t), record("a")
	key, most := r.Attachment.Owner.Key(), hostport.Mapping{Family: 6, Proto: hostport.SCTP, HostPort: 65535, ContainerPort: 65535}
	size := func() int64 {
		if err := s.Save(r); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(s.file(key))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	one := size()
	r.Attachment.Mappings = append(r.Attachment.Mappings, most)
	if all := one + (size()-one)*65535*6; all > maxFile {
		t.Errorf("all ports take %d bytes", all)
	}
	if err := os.Truncate(s.file(key), 1<<43); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(key); err == nil || !strings.Contains(err.Error(), "8796093022208 bytes") {
		t.Errorf("a file with a hole: %v", err)
	}
}

// Whatever is in the place of a file of ours is replaced, or counts as the mark.
func TestOddFiles(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a directory": func(p string) error { return os.MkdirAll(p+"/x/y", 0o700) },
		"a link":      func(p string) error { return os.Symlink("/nonexistent", p) },
		"a FIFO":      func(p string) error { return unix.Mkfifo(p, 0o600) },
		"a hole":      func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 1<<43)) },
	} {
		s, r := created(t), record("a")
		key := r.Attachment.Owner.Key()
		for _, path := range []string{s.file(key), s.temporary(key), s.counters(), s.temporary("counters"), s.complete(), s.used()} {
			if err := put(path); err != nil {
				t.Fatal(err)
			}
		}
		if !s.Has(key) || !s.Used() || s.Unknown() || s.Counters("b").BootID != "b" {
			t.Errorf("%s: a record %v, used %v, unknown %v", name, s.Has(key), s.Used(), s.Unknown())
		}
		if _, err := s.Load(key); err == nil {
			t.Errorf("%s is read as a record", name)
		}
		if err := errors.Join(s.MarkUsed(), s.MarkComplete(), s.Count(s.Counters("b")), s.Save(r)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Load(key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysIgnoresOtherFiles(t *testing.T) {
	s := created(t)
	for _, n := range []string{"lock", "complete", "short.json", ".tmp-1", strings.Repeat("A", 24)} {
		write(t, filepath.Join(s.dir, n), "")
	}
	if got := s.Keys(); got != nil {
		t.Errorf("got %q", got)
	}
}

// What is begun stays so until there is a record, or somebody ends it.
func TestBegun(t *testing.T) {
	s, r := created(t), record("c")
	key := r.Attachment.Owner.Key()
	for name, end := range map[string]func() error{
		"save":    func() error { return s.Save(r) },
		"delete":  func() error { return s.Delete(key) },
		"abandon": func() error { return s.Abandon(key) },
		"tidy":    s.Tidy,
	} {
		if err := errors.Join(s.Begin(key), s.Begin(key)); err != nil || !s.Begun(key) || s.Begun("other") {
			t.Errorf("%s: %v", name, err)
		}
		if err := end(); err != nil || s.Begun(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Unknown means: rules may be there that no record tells of.
func TestUnknown(t *testing.T) {
	used := func(t *testing.T, s *Store) {
		if err := s.MarkUsed(); err != nil {
			t.Fatal(err)
		}
	}
	complete := func(t *testing.T, s *Store) {
		if err := s.MarkComplete(); err != nil {
			t.Fatal(err)
		}
	}
	wipe := func(t *testing.T, s *Store) {
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
	}
	again := func(t *testing.T, s *Store) {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	type step = func(*testing.T, *Store)
	for _, tt := range []struct {
		name  string
		steps []step
		want  bool
	}{
		{"a node that was never used knows all", nil, false},
		{"a fresh boot with an empty directory knows all", []step{again}, false},
		{"the first ADD is not finished", []step{again, used}, true},
		{"after the first ADD all is known", []step{again, used, complete}, false},
		{"a wiped directory knows nothing", []step{again, used, complete, wipe}, true},
		{"a wiped and used directory knows nothing", []step{again, used, complete, wipe, again, used}, true},
		{"until it is complete again", []step{again, used, complete, wipe, again, complete}, false},
		{"marks may be made twice", []step{again, used, used, complete, complete}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := store(t)
			for _, f := range tt.steps {
				f(t, s)
			}
			if got := s.Unknown(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if err := Open("/nonexistent/a/b").MarkComplete(); err == nil {
		t.Error("a mark was made nowhere")
	}
}
