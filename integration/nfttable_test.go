// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/backend/nftables/elements"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
)

// texts are what nft may load: the skeletons of our tables, and what attachments have.
const texts = "../pkg/backend/nftables/elements/testdata/"

// printed is a table as nft prints it, in one form: nft lists the elements in an order
// of its own. Only what the same nft printed is compared, since versions differ.
func printed(n *lab.Node, spec nfttable.Spec) string {
	elements := regexp.MustCompile(`elements = \{([^}]*)\}`)
	text := regexp.MustCompile(`\s+`).ReplaceAllString(n.Run("nft", "-s", "list", "table", "inet", spec.Table.Name), " ")
	text = elements.ReplaceAllStringFunc(text, func(s string) string {
		list := strings.Split(strings.TrimSpace(elements.FindStringSubmatch(s)[1]), ", ")
		slices.Sort(list)
		return "elements = { " + strings.Join(list, ",\n") + " }"
	})
	chains := regexp.MustCompile(`chain [^}]*\}`).FindAllString(text, -1) // in the order in which they were made
	slices.Sort(chains)
	head, _, _ := strings.Cut(text, "chain ")
	return head + strings.Join(chains, "\n")
}

// drop removes a table.
func drop(n *lab.Node, spec nfttable.Spec) { n.Run("nft", "delete", "table", "inet", spec.Table.Name) }

func readTable(t *testing.T, n *lab.Node, spec nfttable.Spec) *nfttable.Table {
	t.Helper()
	var table *nfttable.Table
	var err error
	n.Do(func() { table, err = spec.Read(nftconn.NewReader()) })
	if err != nil {
		t.Fatal(err)
	}
	if table.Stranger != nil || len(table.Broken) > 0 {
		t.Errorf("portguard would write it differently: %v, %v", table.Broken, table.Stranger)
	}
	return table
}

// writeTable makes a table as portguard does, without its chains with conditions.
func writeTable(t *testing.T, n *lab.Node, table *nfttable.Table) {
	t.Helper()
	var err error
	n.Do(func() { err = nftconn.Open().Apply(nfttable.Diff(table.Spec.Absent(), table).Commit) })
	if err != nil {
		t.Fatal(err)
	}
}

// The skeletons as text are what portguard writes over netlink, to the byte.
func TestSkeletons(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	for file, spec := range map[string]nfttable.Spec{"skeleton/table.nft": elements.Spec(), "skeleton/guard.nft": elements.GuardSpec()} {
		n.Run("nft", "-f", texts+file)
		readTable(t, n, spec)
		loaded := printed(n, spec)
		drop(n, spec)
		writeTable(t, n, spec.Absent().With(nil))
		if d := cmp.Diff(loaded, printed(n, spec)); d != "" {
			t.Errorf("%s (-nft +portguard)\n%s", file, d)
		}
		drop(n, spec)
	}
}

// What attachments have, as text, is what portguard writes.
func TestElements(t *testing.T) {
	files, err := filepath.Glob(texts + "*.nft")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files")
	}
	n := lab.NewNode(t, bin, "nft")
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			n.Run("nft", "-f", texts+"skeleton/table.nft")
			n.Run("nft", "-f", f)
			loaded := printed(n, elements.Spec())
			table := readTable(t, n, elements.Spec())
			drop(n, elements.Spec())
			if len(table.Chains()) > 0 { // only nft can write these
				return
			}
			writeTable(t, n, table)
			if d := cmp.Diff(loaded, printed(n, elements.Spec())); d != "" {
				t.Errorf("(-nft +portguard)\n%s", d)
			}
			drop(n, elements.Spec())
		})
	}
}

// What ADD makes is what nft loads again from what it prints, and after DEL there is
// nothing.
func TestTableIsAsPrinted(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	conf := direct(n, pod, `[{"hostPort":8080,"containerPort":80},{"hostPort":53,"containerPort":53,"protocol":"udp","hostIP":"192.0.2.1"}]`, `,"excludeCIDRs":["10.0.0.0/13"]`)
	mustCall(t, n, "ADD", pod, conf)
	for _, spec := range []nfttable.Spec{elements.Spec(), elements.GuardSpec()} {
		readTable(t, n, spec)
		before, text := printed(n, spec), n.Run("nft", "-s", "list", "table", "inet", spec.Table.Name)
		drop(n, spec)
		n.Feed(text, "nft", "-f", "-")
		readTable(t, n, spec)
		if d := cmp.Diff(before, printed(n, spec)); d != "" {
			t.Errorf("(-portguard +nft)\n%s", d)
		}
	}
	mustCall(t, n, "CHECK", pod, conf)
	mustCall(t, n, "DEL", pod, bare(n))
	unchanged(t, n, "")
}
