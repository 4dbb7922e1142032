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
	m.Section("transactions that the kernel refuses")
	b := &Batch{}
	b.CreateElement(Table{Family: Inet, Name: "portguard"}, "ports4", Element{Text: func() string { return "tcp . 8080 : 10.1.0.2 . 80" }})
	for _, errno := range []error{unix.EEXIST, unix.EPERM, unix.ENOSPC} {
		m.Add("111", b.Failure(1, errno).Error())
	}
	m.Add("111", b.Failure(9, unix.EPERM).Error())
	m.Check(*update)
}
