// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
)

// normal brings a table's text into one form: nft sorts and breaks the elements
// in its own way.
func normal(text string) string {
	elements := regexp.MustCompile(`elements = \{([^}]*)\}`)
	text = strings.ReplaceAll(regexp.MustCompile(`\s+`).ReplaceAllString(text, " "), "meta nfproto ipv4 tcp", "tcp")
	return elements.ReplaceAllStringFunc(text, func(s string) string {
		list := strings.Split(strings.TrimSpace(elements.FindStringSubmatch(s)[1]), ", ")
		slices.Sort(list)
		return "elements = { " + strings.Join(list, ",\n") + " }"
	})
}

func readTable(t *testing.T, n *lab.Node) *nfttable.Table {
	t.Helper()
	var table *nfttable.Table
	var err error
	n.Do(func() { table, err = nfttable.Read(nftconn.NewReader()) })
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// The golden texts are what the kernel has: nft loads them and prints them again,
// and what it loads is to the byte what portguard writes itself over netlink.
func TestTableText(t *testing.T) {
	files, err := filepath.Glob("../pkg/nfttable/testdata/*.nft")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files")
	}
	n := lab.NewNode(t, bin, "nft")
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			golden := string(b)
			// A set must be there before the chain that a map leads to.
			head, chain, conditional := strings.Cut(golden, "\tchain if-")
			if conditional {
				name, _, _ := strings.Cut(chain, " ")
				n.Feed("table inet portguard {\n\tchain if-"+name+" { }\n}\n", "nft", "-f", "-")
			}
			n.Feed(golden, "nft", "-f", "-")
			if d := cmp.Diff(normal(golden), normal(reorder(n.Run("nft", "-s", "list", "table", "inet", "portguard")))); d != "" {
				t.Errorf("nft prints it differently (-golden +nft)\n%s", d)
			}
			table := readTable(t, n)
			if len(table.Broken) > 0 {
				t.Errorf("portguard would write it differently: %v", table.Broken)
			}
			if got, _, _ := strings.Cut(table.Text(), "\tchain if-"); !conditional && normal(got) != normal(golden) || conditional && normal(got) != normal(head) {
				t.Errorf("read differently (-golden +read)\n%s", cmp.Diff(normal(golden), normal(got)))
			}
			n.Run("nft", "delete", "table", "inet", "portguard")
		})
	}
}

// reorder puts a chain with conditions, which was made first, behind the others.
func reorder(text string) string {
	chain := regexp.MustCompile(`(?s)\tchain if-.*?\n\t\}\n\n?`).FindString(text)
	if chain == "" {
		return text
	}
	return strings.TrimSuffix(strings.TrimSpace(strings.Replace(text, chain, "", 1)), "}") + chain + "}\n"
}

// What ADD makes is what nft prints, and after DEL there is nothing.
func TestTableIsAsPrinted(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	pod := n.NewPod("web")
	link(n, pod)
	conf := direct(n, pod, `[{"hostPort":8080,"containerPort":80},{"hostPort":53,"containerPort":53,"protocol":"udp","hostIP":"192.0.2.1"}]`, `,"excludeCIDRs":["10.0.0.0/13"]`)
	mustCall(t, n, "ADD", pod, conf)
	table := readTable(t, n)
	if d := cmp.Diff(normal(table.Text()), normal(n.Run("nft", "-s", "list", "table", "inet", "portguard"))); d != "" {
		t.Errorf("(-portguard +nft)\n%s", d)
	}
	if len(table.Broken) > 0 {
		t.Errorf("broken: %v", table.Broken)
	}
	mustCall(t, n, "DEL", pod, bare(n))
	unchanged(t, n, "")
}
