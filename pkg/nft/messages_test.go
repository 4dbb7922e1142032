// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"flag"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

func TestMessages(t *testing.T) {
	m := golden.New(t)
	m.Section("answers of the kernel that cannot be read")
	cut := at(1, []byte("abcd"))
	for _, in := range [][]byte{cut[:6], cut[:3]} {
		_, err := parseAttrs(in)
		m.Add("109", err.Error())
	}
	m.Section("a damaged memory; nobody is told, the rules are read")
	_, err := DecodeMemory([]byte{9})
	m.Add("-", err.Error())
	m.Section("kernels without what the backend needs; the plugin adds what to do")
	for _, err := range []error{enough("5.4.0-generic", nil), enough("6.1.0", unix.EINVAL), enough("6.1.0", unix.EPERM)} {
		m.Add("109", err.Error())
	}
	if err := enough("6.1.0", nil); err != nil {
		t.Error(err)
	}
	m.Section("transactions that the kernel refuses")
	b := &Batch{}
	b.CreateElement(Table{Family: Inet, Name: "portguard"}, "ports4", Element{Text: "tcp . 8080 : 10.1.0.2 . 80"})
	for _, errno := range []error{unix.EEXIST, unix.EPERM, unix.ENOSPC} {
		m.Add("111", b.failure(1, errno).Error())
	}
	m.Add("111", b.failure(9, unix.EPERM).Error())
	m.Check(*update)
}
