// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/run"
)

// Tools runs the iptables commands on PATH in the network namespace of the
// calling thread.
type Tools struct {
	// Wait is the longest wait for the xtables lock.
	Wait time.Duration
}

// ErrBusy means that somebody else held the xtables lock for longer than Wait.
var ErrBusy = errors.New("another program holds the xtables lock")

// ErrGone is wrapped where the tool said, in words of its own, that a rule or a chain is not
// there. A match that the kernel lacks is told in the same words.
var ErrGone = errors.New("")

// killAfter ends a tool that hangs, so that portguard's own lock is released.
const killAfter = time.Minute

// Save reads a table that is there: the tools might make one that is not.
func (t *Tools) Save(fl Flavour, f hostport.Family, table string) (*iptsave.Table, error) {
	got, err := t.save(fl, f, table)
	if err != nil {
		return nil, fmt.Errorf("could not read the iptables-%s rules (%s): %w", fl, f, err)
	}
	return got, nil
}

func (t *Tools) save(fl Flavour, f hostport.Family, table string) (*iptsave.Table, error) {
	p, err := path(fl, f, "save")
	if err != nil {
		return nil, err
	}
	var args []string
	if fl == Legacy { // else it looks for tables in a file that it may not be allowed to read
		args = []string{"--table", table}
	}
	out, stderr, err := t.run(p, "", args...)
	if err != nil {
		return nil, err
	}
	// Versions differ in where they write about a table they cannot show.
	for line := range strings.Lines(stderr) {
		if strings.Contains(line, "incompatible, use 'nft' tool") {
			out += line
		}
	}
	d, err := iptsave.Parse(out)
	if err != nil {
		return nil, err
	}
	got, err := d.Table(table)
	switch {
	case err != nil:
		return nil, err
	case got == nil:
		return nil, fmt.Errorf("table %s is there, but the tool did not print it", table)
	case fl == Legacy:
		return got, nil
	}
	// iptables-nft makes no sets. A rule that looks one up is native, and
	// iptables-nft-save prints it without the look-up, as if it matched every packet.
	sets, err := nftconn.NewReader().Sets(nft.Table{Family: f.NFProto(), Name: table})
	if err == nil && len(sets) > 0 {
		err = fmt.Errorf("table %s: %w", table, iptsave.ErrIncompatible)
	}
	return got, err
}

// Restore applies a script in one run of iptables-restore --noflush.
func (t *Tools) Restore(fl Flavour, f hostport.Family, script string) error {
	return t.restore(fl, f, script, "--noflush")
}

// Test is Restore that commits nothing.
func (t *Tools) Test(fl Flavour, f hostport.Family, script string) error {
	return t.restore(fl, f, script, "--noflush", "--test")
}

func (t *Tools) restore(fl Flavour, f hostport.Family, script string, args ...string) error {
	p, err := path(fl, f, "restore")
	if err != nil {
		return err
	}
	if fl == Legacy { // iptables-nft has no lock: the kernel's transactions do
		args = append(args, "--wait", strconv.Itoa(t.seconds()))
	}
	_, _, err = t.run(p, script, args...)
	return err
}

// Run runs iptables itself, which changes one rule or chain a call, and returns what it
// printed.
func (t *Tools) Run(fl Flavour, f hostport.Family, args ...string) (string, error) {
	p, err := path(fl, f, "")
	if err != nil {
		return "", err
	}
	if fl == Legacy {
		args = append([]string{"--wait", strconv.Itoa(t.seconds())}, args...)
	}
	stdout, _, err := t.run(p, "", args...)
	return stdout, err
}

// seconds is how long to wait for the xtables lock.
func (t *Tools) seconds() int { return max(1, int(math.Ceil(t.Wait.Seconds()))) }

// run runs a tool and returns its outputs. A failure carries what the tool said.
func (t *Tools) run(path, stdin string, args ...string) (stdout, stderr string, err error) {
	name := filepath.Base(path)
	res, err := run.Run(path, stdin, killAfter+t.Wait, args...)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", name, err)
	}
	switch said := res.Said(); {
	case said == "":
		return res.Stdout, res.Stderr, nil
	case res.Code == 4 && says(said, "xtables lock", "Resource temporarily unavailable", "Device or resource busy"):
		return "", "", fmt.Errorf("%s: %w: %s", name, ErrBusy, said)
	case says(said, "restore: line ", "does not exist", "does a matching rule exist", "match by that name", "No such file or directory"):
		return "", "", fmt.Errorf("%s: %s%w", name, said, ErrGone)
	default:
		return "", "", fmt.Errorf("%s: %s", name, said)
	}
}

// says tells causes of a failure apart: a held lock, EAGAIN or EBUSY from what else is exit
// status 4, which is RESOURCE_PROBLEM in iptables' xtables.h and any failure of
// iptables-nft. The tools are not localised.
func says(msg string, words ...string) bool {
	return slices.ContainsFunc(words, func(s string) bool { return strings.Contains(msg, s) })
}
