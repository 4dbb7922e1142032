// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/nft"
)

// create makes a table with a base chain, n times.
func create(n int) *nft.Batch {
	b, t := &nft.Batch{}, nft.Table{Family: nft.Inet, Name: "mine"}
	b.CreateTable(t)
	for range n {
		b.AddChain(nft.Chain{Table: t, Name: "pre", Type: "nat", Hook: nft.Prerouting, Priority: -95})
	}
	return b
}

// What is tried is not there afterwards, and its errors come back.
func TestTry(t *testing.T) {
	need.Netns(t)
	c := Open()
	before, err := c.Reader().Generation()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Allowed(), c.Try(create(1)), c.Try(create(1))); err != nil {
		t.Error(err)
	}
	if now, err := c.Reader().Generation(); err != nil || now != before {
		t.Errorf("the generation was %d and is %d, %v", before, now, err)
	}
	if _, there, err := c.Reader().TableFlags(nft.Table{Family: nft.Inet, Name: "mine"}); there || err != nil {
		t.Errorf("the table is there: %t, %v", there, err)
	}
	if err := c.Apply(create(1)); err != nil {
		t.Error(err)
	}
	if err := c.Try(create(1)); !errors.Is(err, unix.EEXIST) {
		t.Errorf("what is there already: %v", err)
	}
	need.Unprivileged(t, func() {
		c := Open()
		if err := c.Allowed(); !errors.Is(err, unix.EPERM) {
			t.Errorf("without the capability: %v", err)
		}
		if err := c.Try(create(1)); !errors.Is(err, unix.EPERM) {
			t.Errorf("without the capability: %v", err)
		}
	})
	if err := c.Allowed(); err != nil {
		t.Error(err)
	}
}
