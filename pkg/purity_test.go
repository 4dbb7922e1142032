// SPDX-License-Identifier: Apache-2.0

package pkg_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// module is what the import paths of this repository begin with.
const module = "github.com/portguard/portguard/"

// pure are the packages that decide and plan. They get values and small
// interfaces, and reach no file, no socket, no program and no clock, neither
// themselves nor through a package that they import. An entry that ends in /...
// stands for everything below it.
var pure = []string{
	"pkg/addrset",
	"pkg/backend",
	"pkg/backend/iptables/ruleset",
	"pkg/backend/localnet",
	"pkg/backend/nftables/elements",
	"pkg/backend/reservation/holds",
	"pkg/backend/reservation/program",
	"pkg/conflict",
	"pkg/conflist",
	"pkg/doctor",
	"pkg/explain",
	"pkg/finding",
	"pkg/hostport",
	"pkg/inventory",
	"pkg/iptsave",
	"pkg/legacy",
	"pkg/netconf",
	"pkg/nft",
	"pkg/nfttable",
	"pkg/place",
	"pkg/portmap",
	"pkg/walk",
	"pkg/way",
	"pkg/xt",
}

// impure are the packages of the standard library that reach the world, each
// with all that is below it. Their standard importers are not followed: fmt
// imports os, and what it does with it is not asked for here.
var impure = []string{"io/ioutil", "log", "net", "os", "os/exec", "plugin", "syscall"}

// partly are packages that do more than a pure package may, and the names that
// it may use all the same. Constants need no mention. The walk ends at them.
var partly = map[string][]string{
	"golang.org/x/sys/unix": nil,
	"path/filepath":         {"Clean", "IsAbs", "Join"},
	"time":                  {"Duration", "ParseDuration", "Time"},

	// A runtime's words. Decoding them reads nothing but its arguments.
	"github.com/containernetworking/cni/pkg/skel":      {"CmdArgs"},
	"github.com/containernetworking/cni/pkg/types":     {"PluginConf", "Result"},
	"github.com/containernetworking/cni/pkg/types/100": {"NewResultFromResult", "Result"},
	"github.com/containernetworking/cni/pkg/version":   {"ParsePrevResult"},
}

// TestPurity fails with the chain of imports by which a pure package reaches the
// world.
func TestPurity(t *testing.T) {
	g := list(t)
	for _, p := range g.pure(t) {
		for _, chain := range g.chains(p) {
			t.Errorf("not pure: %s", chain)
		}
	}
}

// TestPurityFinds proves that the walk finds what it looks for.
func TestPurityFinds(t *testing.T) {
	g := graph{
		"m/a":   {Imports: []string{"fmt", "m/b", "m/ok", "lib/sock", "net/netip"}},
		"m/b":   {Imports: []string{"m/c", "strings"}},
		"m/c":   {Imports: []string{"os/exec", "time"}},
		"m/d":   {Imports: []string{"time"}, uses: map[string][]string{"time": {"Duration", "Now"}}},
		"m/ok":  {Imports: []string{"path/filepath"}, uses: map[string][]string{"path/filepath": {"Clean"}}},
		"fmt":   {Standard: true, Imports: []string{"os"}},
		"lib/x": {Imports: []string{"net"}}, "lib/sock": {Imports: []string{"lib/x"}},
	}
	for p, want := range map[string][]string{
		"m/a":  {"m/a -> m/b -> m/c -> os/exec", "m/a -> lib/sock -> lib/x -> net"},
		"m/c":  {"m/c -> os/exec"},
		"m/d":  {"m/d -> time.Now"},
		"m/ok": nil,
	} {
		if diff := cmp.Diff(want, g.chains(p)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p, diff)
		}
	}
}

// A node is a package as "go list" tells of it.
type node struct {
	ImportPath string
	Dir        string
	Standard   bool
	GoFiles    []string
	Imports    []string

	// uses are the names that it uses of the packages in partly, other than
	// their constants.
	uses map[string][]string
}

// A graph is all packages that the pure ones import, by import path.
type graph map[string]*node

// list asks the go tool, for the only system that the plugin runs on.
func list(t *testing.T) graph {
	t.Helper()
	args := []string{"list", "-e", "-deps", "-json=ImportPath,Dir,Standard,GoFiles,Imports"}
	for _, p := range pure {
		args = append(args, module+p)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	g := graph{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		n := &node{}
		if err := dec.Decode(n); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		g[n.ImportPath] = n
	}
	constants := map[string]map[string]bool{}
	for _, n := range g {
		if n.Standard {
			continue
		}
		// The go tool remembers that a test passed until a file or folder that it
		// opened changes. It does not see what "go list" opened.
		if _, err := os.ReadDir(n.Dir); err != nil && n.Dir != "" {
			t.Fatal(err)
		}
		n.uses = g.usesOf(t, n, constants)
	}
	return g
}

// pure are the import paths that the list of the same name stands for.
func (g graph) pure(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, entry := range pure {
		root, below := strings.CutSuffix(module+entry, "/...")
		n := len(out)
		for p, node := range g {
			if len(node.GoFiles) > 0 && (p == root || below && strings.HasPrefix(p, root+"/")) {
				out = append(out, p)
			}
		}
		if len(out) == n {
			t.Errorf("the list of pure packages names %s, and there is none", entry)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// chains are the ways by which a package reaches the world, one for each of its
// imports that leads there. What another pure package reaches is said there.
func (g graph) chains(p string) []string {
	var out []string
	for _, use := range g.misuses(p) {
		out = append(out, join([]string{p, use}))
	}
	for _, first := range g[p].Imports {
		if chain := g.shortest([]string{p, first}); chain != "" {
			out = append(out, chain)
		}
	}
	return out
}

// shortest is the shortest chain that begins like this one and reaches the world,
// or "".
func (g graph) shortest(begin []string) string {
	seen := map[string]bool{}
	for queue := [][]string{begin}; len(queue) > 0; queue = queue[1:] {
		chain := queue[0]
		last := chain[len(chain)-1]
		if reaches(last) {
			return join(chain)
		}
		n := g[last]
		if n == nil || leaf(n, last) {
			continue
		}
		if i := slices.IndexFunc(n.Imports, reaches); i >= 0 {
			return join(chain, n.Imports[i])
		}
		if uses := g.misuses(last); len(uses) > 0 {
			return join(chain, uses[0])
		}
		for _, next := range n.Imports {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, append(slices.Clone(chain), next))
			}
		}
	}
	return ""
}

// reaches says whether a package of the standard library reaches the world.
func reaches(p string) bool {
	return p != "net/netip" && slices.ContainsFunc(impure, func(bad string) bool { return p == bad || strings.HasPrefix(p, bad+"/") })
}

// leaf says whether the walk ends at a package.
func leaf(n *node, p string) bool {
	_, named := partly[p]
	return n.Standard || named || slices.Contains(pure, strings.TrimPrefix(p, module))
}

// misuses are the names that a package uses and may not, by their packages.
func (g graph) misuses(p string) []string {
	var out []string
	for lib, names := range g[p].uses {
		bad := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(partly[lib], name) })
		if len(bad) > 0 {
			slices.Sort(bad)
			out = append(out, lib+"."+strings.Join(bad, ", "))
		}
	}
	slices.Sort(out)
	return out
}

func join(chain []string, more ...string) string {
	return strings.ReplaceAll(strings.Join(slices.Concat(chain, more), " -> "), module, "")
}
