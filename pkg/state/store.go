// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/hostport"
)

// version is that of the file format.
const version = 2

// temporary begins the names of files that are being written.
const temporary = ".tmp-"

// A Record is what is kept of one attachment.
type Record struct {
	Version    int                 `json:"version"`
	Attachment hostport.Attachment `json:"attachment"`
	Netns      Netns               `json:"netns"`
	// LinkIndex is that of the attachment's link: it stays when the link is renamed.
	LinkIndex int    `json:"linkIndex,omitempty"`
	BootID    string `json:"bootID"`
	// Backend is the name of the backend that has the mappings, Wanted what the
	// configuration asked for ("auto", "iptables" or "nftables").
	Backend string `json:"backend"`
	Wanted  string `json:"wanted"`
	// Left are the mappings that the attachment asked for and others keep.
	Left []hostport.Mapping `json:"left,omitempty"`
	// Created is when ADD made it.
	Created time.Time `json:"created,omitzero"`
	// Warnings are the findings that did not refuse the attachment.
	Warnings []string `json:"warnings,omitempty"`
}

// Claim is a mapping of the attachment that no rules tell of.
func (r *Record) Claim(m hostport.Mapping) hostport.Claim {
	a := r.Attachment
	return hostport.Claim{Owner: a.Owner, Key: a.Owner.Key(), Backend: r.Backend, Mapping: m, Target: a.Target(m), Lost: true, Packets: -1}
}

// A Store is a directory of records.
//
// A record is written before the rules and removed after them, so that rules
// without a record mean that the directory was wiped. To tell a wiped directory
// from one that never was, there are two marks: "complete" inside says that no
// rules are without a record; the file beside the directory says that there
// have been some since boot.
type Store struct{ dir string }

// Open names the directory; nothing is created.
func Open(dir string) *Store { return &Store{dir: dir} }

func (s *Store) file(key string) string      { return filepath.Join(s.dir, key+".json") }
func (s *Store) temporary(key string) string { return filepath.Join(s.dir, temporary+key) }
func (s *Store) complete() string            { return filepath.Join(s.dir, "complete") }
func (s *Store) used() string                { return s.dir + ".used" }

// Has reports whether there is a record for key, even an unreadable one.
func (s *Store) Has(key string) bool {
	_, err := os.Lstat(s.file(key))
	return err == nil
}

// Unknown reports whether an attachment without a record may have rules all the
// same.
func (s *Store) Unknown() bool {
	_, err := os.Lstat(s.complete())
	return err != nil && s.Used()
}

// Used reports whether there have been rules since boot.
func (s *Store) Used() bool {
	_, err := os.Lstat(s.used())
	return err == nil
}

// MarkUsed says that there are rules, or will be in a moment.
func (s *Store) MarkUsed() error { return touch(s.used(), "mark it as used") }

// MarkComplete says that from now on every attachment with rules has a record.
func (s *Store) MarkComplete() error { return touch(s.complete(), "mark it as complete") }

// touch makes a mark. Whatever is there already is one.
func touch(path, doing string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return dirError(doing, err)
	}
	return f.Close()
}

// Load returns the record for key, an error that is fs.ErrNotExist without one.
func (s *Store) Load(key string) (*Record, error) {
	b, err := readRegular(s.file(key))
	var r Record
	if err == nil {
		r, err = decode(b)
	}
	if err == nil {
		err = r.valid(key)
	}
	if err != nil {
		return nil, fmt.Errorf("could not read the record %s: %w; restart its pod", s.file(key), err)
	}
	return &r, nil
}

// decode reads a record of this version or of version 1, which had the flavour of iptables
// in a field of its own and did not say what was wanted.
func decode(b []byte) (Record, error) {
	var r struct {
		Record
		Flavour string `json:"flavour"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, err
	}
	r.Attachment.Link = hostport.Unescape(r.Attachment.Link)
	switch r.Version {
	case version:
		return r.Record, nil
	case 1:
		r.Version, r.Wanted = version, "auto"
		if r.Backend == "iptables" { // which somebody may have asked for
			r.Wanted, r.Backend = r.Backend, r.Backend+"-"+r.Flavour
		}
		return r.Record, nil
	}
	return Record{}, fmt.Errorf("version %d is not known", r.Version)
}

// maxFile is the most that a file may hold. The record of a pod that has all ports of all
// protocols in both families holds 48 MB.
const maxFile = 64 << 20

func readRegular(path string) ([]byte, error) { return file.Read(path, maxFile, unix.O_NOFOLLOW) }

// Begin marks that there are rules, or will be in a moment, and that something may be there of an
// attachment before its record is. Save, Delete and Abandon end that.
func (s *Store) Begin(key string) error {
	if err := s.MarkUsed(); err != nil {
		return err
	}
	return touch(s.temporary(key), "write a record")
}

// Begun reports whether a call that was killed may have left something of an attachment.
func (s *Store) Begun(key string) bool {
	_, err := os.Lstat(s.temporary(key))
	return err == nil
}

// Abandon ends what Begin began.
func (s *Store) Abandon(key string) error {
	return dirError("remove a record", remove(s.temporary(key)))
}

// Tidy removes what killed calls have left of their files. The lock is held, so that nobody is
// writing one.
func (s *Store) Tidy() error {
	entries, _ := os.ReadDir(s.dir)
	var all error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) {
			all = errors.Join(all, remove(filepath.Join(s.dir, e.Name())))
		}
	}
	return dirError("remove a record", all)
}

// Watch tells whether one of those attachments has changed since: its record, or that its
// network namespace is at its path.
func (s *Store) Watch(keys []string) (changed func() bool) {
	look := func() (out string) {
		for _, key := range keys {
			b, _ := readRegular(s.file(key))
			r, _ := decode(b)
			out += fmt.Sprintln(string(b), r.Netns.there())
		}
		return out
	}
	before := look()
	return func() bool { return look() != before }
}

// Save writes the record.
func (s *Store) Save(r Record) error {
	r.Version = version
	r.Attachment.Link = hostport.Escape(r.Attachment.Link) // it need not be UTF-8
	key := r.Attachment.Owner.Key()
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = replace(s.file(key), s.temporary(key), b)
	}
	return dirError("write a record", err)
}

// replace writes a file. A directory in its place goes, as all else would. The lock is held, so
// that nobody else writes the temporary one.
func replace(path, tmp string, b []byte) error {
	if st, err := os.Lstat(path); err == nil && st.IsDir() {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return file.Replace(path, tmp, append(b, '\n'), 0o600)
}

// Delete removes the record for key, whatever somebody put in its place; none is
// success.
func (s *Store) Delete(key string) error {
	return dirError("remove a record", errors.Join(remove(s.temporary(key)), remove(s.file(key))))
}

// remove is os.RemoveAll, which would wait for ever below a FIFO.
func remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return os.RemoveAll(path)
}

// Keys lists the records that are there.
func (s *Store) Keys() []string {
	entries, _ := os.ReadDir(s.dir)
	var out []string
	for _, e := range entries {
		if k, ok := strings.CutSuffix(e.Name(), ".json"); ok && len(k) == 24 {
			out = append(out, k)
		}
	}
	return out
}
