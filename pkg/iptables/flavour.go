// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

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

// ErrNoTool means that a tool of iptables is needed and not installed.
var ErrNoTool = errors.New("the tool is not installed")

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

// path finds a tool, "save", "restore" or "" for iptables itself: under its own name, or
// under the plain one where that is this flavour.
func path(fl Flavour, f hostport.Family, verb string) (string, error) {
	cmd := "iptables"
	if f == hostport.IPv6 {
		cmd = "ip6tables"
	}
	if verb != "" {
		verb = "-" + verb
	}
	own := fmt.Sprintf("%s-%s%s", cmd, fl, verb)
	if p, err := exec.LookPath(own); err == nil {
		return p, nil
	}
	if p, err := exec.LookPath(cmd + verb); err == nil {
		if got, ok := flavourOf(p); ok && got == fl {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w; install the iptables package", own, ErrNoTool)
}
