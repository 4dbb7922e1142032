// SPDX-License-Identifier: Apache-2.0

package nftconn

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/run"
)

// A Printer prints rules as nft does. It lists each chain once.
type Printer struct{ chains map[string]string }

// NewPrinter returns one that has listed nothing yet.
func NewPrinter() *Printer { return &Printer{map[string]string{}} }

// Rule prints the rule with a handle, "" if nft cannot, or it is not there any more.
func (p *Printer) Rule(t nft.Table, chain string, handle uint64) string {
	key := t.String() + " " + chain
	text, known := p.chains[key]
	if !known {
		text = listed(t, chain)
		p.chains[key] = text
	}
	end := fmt.Sprintf(" # handle %d", handle)
	for line := range strings.Lines(text) {
		if rule, ok := strings.CutSuffix(strings.TrimRight(line, "\n"), end); ok {
			return strings.TrimSpace(rule)
		}
	}
	return ""
}

// listed is a chain as nft lists it. To nft its arguments are a script, so names that are
// more than an identifier are not asked for.
func listed(t nft.Table, chain string) string {
	const limit = 5 * time.Second
	identifier := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9/_.-]*$`)
	family := strings.Fields(t.String())
	path, err := exec.LookPath("nft")
	if err != nil || len(family) == 0 || !identifier.MatchString(t.Name) || !identifier.MatchString(chain) {
		return ""
	}
	res, err := run.Run(path, "", limit, "-a", "-n", "list", "chain", family[0], t.Name, chain)
	if err != nil || res.Code != 0 {
		return ""
	}
	return res.Stdout
}
