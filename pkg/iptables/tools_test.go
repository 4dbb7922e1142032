// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
)

// A bench is a PATH with tools that are scripts.
type bench struct {
	t   *testing.T
	dir string
}

func newBench(t *testing.T) (*bench, *Tools) {
	t.Helper()
	b := &bench{t, t.TempDir()}
	t.Setenv("PATH", b.dir+":/usr/bin:/bin")
	return b, &Tools{Wait: 1500 * time.Millisecond}
}

func (b *bench) tool(name, script string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func TestSave(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		rules        int
		fails        string
	}{
		{"rules", `test "$*" = "--table nat" && printf '*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n'`, 1, ""},
		{"the tool fails", "echo no memory >&2; exit 3", 0, "could not read the iptables-legacy rules (IPv4): iptables-legacy-save: exit status 3: no memory"},
		{"nobody can tell what it printed", "echo '*nat'", 0, "the list ends within table nat"},
		{"it left a table out", `printf '*filter\nCOMMIT\n'`, 0, "table nat is there, but the tool did not print it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, tools := newBench(t)
			b.tool("iptables-legacy-save", tt.script)
			nat, err := tools.Save(Legacy, hostport.IPv4, "nat")
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("error %v, want %q", err, tt.fails)
				}
				return
			}
			n := 0
			if c := nat.Chain("PREROUTING"); c != nil {
				n = len(c.Rules)
			}
			if err != nil || n != tt.rules {
				t.Errorf("%d rules, %v", n, err)
			}
		})
	}
	_, tools := newBench(t)
	if _, err := tools.Save(Legacy, hostport.IPv4, "nat"); !errors.Is(err, ErrNoTool) {
		t.Errorf("without the tool: %v", err)
	}
}

func TestRestore(t *testing.T) {
	b, tools := newBench(t)
	const busyText = "Another app is currently holding the xtables lock"
	for _, tt := range []struct {
		name, script string
		busy         bool
		fails        string
	}{
		{"it gets the script and waits for the lock", `test "$*" = "--noflush --wait 2" && test "$(cat)" = "*nat
COMMIT"`, false, ""},
		{"somebody holds the lock", "echo " + busyText + " >&2; exit 4", true, "iptables-legacy-restore: another program holds the xtables lock: exit status 4: " + busyText},
		{"it fails for another reason", "echo Bad rule >&2; exit 4", false, "iptables-legacy-restore: exit status 4: Bad rule"},
		{"it says nothing", "exit 1", false, "exit status 1, and it said nothing"},
	} {
		b.tool("iptables-legacy-restore", tt.script)
		err := tools.Restore(Legacy, hostport.IPv4, "*nat\nCOMMIT\n")
		if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) || errors.Is(err, ErrBusy) != tt.busy {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestDefault(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lay   func(b *bench)
		want  Flavour
		fails bool
	}{
		{"a link to the binary of one flavour", func(b *bench) { b.tool("xtables-nft-multi", ""); b.link("xtables-nft-multi", "iptables") }, NFT, false},
		{"a link to the other", func(b *bench) {
			b.tool("xtables-legacy-multi", "")
			b.link("xtables-legacy-multi", "iptables")
		}, Legacy, false},
		{"a wrapper says it", func(b *bench) { b.tool("iptables", `echo "iptables v1.8.9 (nf_tables)"`) }, NFT, false},
		{"an old wrapper", func(b *bench) { b.tool("iptables", `echo "iptables v1.6.0"`) }, Legacy, false},
		{"only one flavour's own tools", func(b *bench) { b.tool("iptables-legacy-restore", "") }, Legacy, false},
		{"nothing", func(*bench) {}, "", true},
		{"a wrapper that fails", func(b *bench) { b.tool("iptables", "exit 1") }, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, tools := newBench(t)
			t.Setenv("PATH", b.dir)
			tt.lay(b)
			if got, err := tools.Default(); got != tt.want || (err != nil) != tt.fails {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func (b *bench) link(to, name string) {
	b.t.Helper()
	if err := os.Symlink(to, filepath.Join(b.dir, name)); err != nil {
		b.t.Fatal(err)
	}
}

func TestFindsTools(t *testing.T) {
	b, tools := newBench(t)
	t.Setenv("PATH", b.dir)
	if err := tools.Test(NFT, hostport.IPv6, ""); !errors.Is(err, ErrNoTool) || !strings.Contains(err.Error(), "ip6tables-nft-restore") {
		t.Errorf("none is there: %v", err)
	}
	b.tool("xtables-nft-multi", `test "$*" = "--noflush --test"`)
	b.link("xtables-nft-multi", "ip6tables-restore") // the plain name, of that flavour
	if err := tools.Test(NFT, hostport.IPv6, ""); err != nil {
		t.Errorf("it is there: %v", err)
	}
	if _, err := tools.Run(Legacy, hostport.IPv6, "-S"); !errors.Is(err, ErrNoTool) {
		t.Errorf("the other flavour's is not there: %v", err)
	}
	b.tool("ip6tables-legacy", `echo "$*"`)
	if got, err := tools.Run(Legacy, hostport.IPv6, "-t", "nat", "-S"); err != nil || got != "--wait 2 -t nat -S\n" {
		t.Errorf("it is there: %q, %v", got, err)
	}
	b.tool("ip6tables-legacy", `echo "ip6tables: No chain/target/match by that name." >&2; exit 1`)
	if _, err := tools.Run(Legacy, hostport.IPv6, "-F", "X"); !errors.Is(err, ErrGone) {
		t.Errorf("a chain that is not there: %v", err)
	}
}

func TestPrinter(t *testing.T) {
	b, tools := newBench(t)
	b.tool("iptables-legacy-save", `echo run >>`+b.dir+`/runs; printf '*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\n-A PREROUTING -p udp -j RETURN\nCOMMIT\n'`)
	p := tools.Printer()
	for i, want := range []string{"-j ACCEPT", "-p udp -j RETURN"} {
		if got := p.Rule(Legacy, hostport.IPv4, "nat", "PREROUTING", i); got != want {
			t.Errorf("rule %d is %q", i, got)
		}
	}
	for _, i := range []int{-1, 2} {
		if got := p.Rule(Legacy, hostport.IPv4, "nat", "PREROUTING", i); got != "" {
			t.Errorf("rule %d is %q", i, got)
		}
	}
	if got := p.Rule(Legacy, hostport.IPv4, "nat", "NONE", 0); got != "" {
		t.Errorf("of no chain: %q", got)
	}
	if runs, _ := os.ReadFile(filepath.Join(b.dir, "runs")); string(runs) != "run\n" {
		t.Errorf("the tool ran %q", runs)
	}
}
