// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Flavour is one of the two implementations of iptables, which hold rules of
// their own that the other one does not show.
type Flavour string

// NFT keeps its rules in nf_tables, Legacy in the xtables of old.
const (
	NFT    Flavour = "nft"
	Legacy Flavour = "legacy"
)

// Flavours returns both.
func Flavours() [2]Flavour { return [2]Flavour{NFT, Legacy} }

// ErrNoTool means that a flavour holds rules and its tools are not installed.
var ErrNoTool = errors.New("the tool is not installed")

// Present reports whether the flavour has rules of family f in this network
// namespace. It does not create any table: asking iptables-legacy would.
func (t *Tools) Present(fl Flavour, f hostport.Family) (bool, error) {
	if fl == Legacy {
		names, err := t.legacyTables(f)
		return slices.ContainsFunc(names, func(n string) bool { return n == "nat" || n == "filter" || n == "mangle" }), err
	}
	for _, name := range []string{"nat", "filter", "mangle"} {
		ok, err := t.has(fl, name, f)
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (t *Tools) has(fl Flavour, table string, f hostport.Family) (bool, error) {
	if fl == NFT {
		return nftTable(table, f)
	}
	names, err := t.legacyTables(f)
	return slices.Contains(names, table), err
}

// legacyTables are the tables of iptables-legacy that exist. The file is missing if
// ip_tables is not in the kernel.
func (t *Tools) legacyTables(f hostport.Family) ([]string, error) {
	name := "ip_tables_names"
	if f == hostport.IPv6 {
		name = "ip6_tables_names"
	}
	b, err := os.ReadFile(filepath.Join(t.Proc, "thread-self/net", name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("could not read the names of the %s tables of iptables-legacy: %w", f, err)
	}
	return strings.Fields(string(b)), nil
}

// Message numbers of include/uapi/linux/netfilter: nf_tables' subsystem and its
// requests for a table and its sets.
const (
	subsysNftables = 10
	nftMsgGetTable = 1
	nftMsgGetSet   = 10
	nftaTableName  = 1 // also NFTA_SET_TABLE
)

// maxTries is how often an interrupted dump is asked for again.
const maxTries = 5

// nftTable asks nf_tables for one table. No such table is ENOENT; a kernel
// without nf_tables answers EINVAL (nfnetlink_rcv_msg).
func nftTable(name string, f hostport.Family) (bool, error) {
	_, err := nftAsk(nftMsgGetTable, unix.NLM_F_ACK, name, f)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return false, nil
	}
	return false, fmt.Errorf("could not ask nf_tables for %s table %s: %w", f, name, err)
}

// nftHasSets reports whether a table holds any set, named or anonymous.
func nftHasSets(table string, f hostport.Family) (bool, error) {
	for range maxTries {
		sets, err := nftAsk(nftMsgGetSet, unix.NLM_F_DUMP, table, f)
		if errors.Is(err, nl.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("could not ask nf_tables for %s table %s: %w", f, table, err)
		}
		return len(sets) > 0, nil
	}
	return false, fmt.Errorf("could not ask nf_tables for %s table %s: %w", f, table, nl.ErrDumpInterrupted)
}

// nftAsk sends one request about a table.
func nftAsk(msg, flags int, table string, f hostport.Family) ([][]byte, error) {
	family := uint8(unix.AF_INET)
	if f == hostport.IPv6 {
		family = unix.AF_INET6
	}
	req := nl.NewNetlinkRequest(subsysNftables<<8|msg, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family})
	req.AddData(nl.NewRtAttr(nftaTableName, nl.ZeroTerminated(table)))
	return req.Execute(unix.NETLINK_NETFILTER, 0)
}

// Default returns the flavour that plain "iptables" is.
func (t *Tools) Default() (Flavour, error) {
	path, err := exec.LookPath("iptables")
	if err != nil {
		for _, fl := range Flavours() {
			if _, err := exec.LookPath("iptables-" + string(fl) + "-restore"); err == nil {
				return fl, nil
			}
		}
		return "", fmt.Errorf("iptables: %w; install the iptables package", ErrNoTool)
	}
	if fl, ok := flavourOf(path); ok {
		return fl, nil
	}
	// A wrapper script. Since 1.8.0 the version ends in "(nf_tables)" or
	// "(legacy)"; before there was only legacy.
	out, _, err := t.run(path, "", "--version")
	if err != nil {
		return "", err
	}
	if strings.Contains(out, "nf_tables") {
		return NFT, nil
	}
	return Legacy, nil
}

// flavourOf follows links to the multi-call binary, whose name tells.
func flavourOf(path string) (Flavour, bool) {
	binary, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", false
	}
	switch base := filepath.Base(binary); {
	case strings.Contains(base, "nft"):
		return NFT, true
	case strings.Contains(base, "legacy"), base == "xtables-multi":
		return Legacy, true
	}
	return "", false
}

// Installed returns ErrNoTool if a tool that reads or writes the flavour's rules is
// missing.
func (t *Tools) Installed(fl Flavour, f hostport.Family) error {
	_, err := path(fl, f, "save")
	if err == nil {
		_, err = path(fl, f, "restore")
	}
	return err
}

// path finds a tool: under its own name, or under the plain one where that is
// this flavour.
func path(fl Flavour, f hostport.Family, verb string) (string, error) {
	cmd := "iptables"
	if f == hostport.IPv6 {
		cmd = "ip6tables"
	}
	own := fmt.Sprintf("%s-%s-%s", cmd, fl, verb)
	if p, err := exec.LookPath(own); err == nil {
		return p, nil
	}
	if p, err := exec.LookPath(cmd + "-" + verb); err == nil {
		if got, ok := flavourOf(p); ok && got == fl {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w; install it or remove the rules of that flavour", own, ErrNoTool)
}
