// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/rules"
)

const kubeProxy = `*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD DROP [0:0]
:KUBE-IPTABLES-HINT - [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:MINE-1 - [0:0]
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j MINE-1
-A KUBE-SERVICES -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j MINE-1
-A KUBE-SERVICES -p tcp -m tcp --dport 81 -j MINE-1
COMMIT
`

// read does something with a Reader in n.
func read(t *testing.T, n *lab.Netns, o rules.Options, f func(r *rules.Reader) error) {
	t.Helper()
	o.Proc = "/proc"
	n.Do(func() {
		if err := f(rules.New(o)); err != nil {
			t.Error(err)
		}
	})
}

// holders writes each holder as a line.
func holders(r *rules.Reader) (string, error) {
	list, err := r.Holders()
	var out []string
	for _, h := range list {
		line := h.Holder + ":"
		for _, c := range h.Chains {
			line += fmt.Sprintf(" %s/%s/%d", c.Table, c.Name, c.Priority)
		}
		line += " |"
		for _, c := range h.Onward {
			drops, err := h.Drops(c)
			line += fmt.Sprintf(" %s/%s/%v", c.Table, c.Name, drops)
			if err != nil {
				return "", err
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n"), err
}

// Whoever reads makes no table, and no table is no rules.
func TestNothingIsMade(t *testing.T) {
	n := lab.NewNetns(t, "reader")
	read(t, n, rules.Options{}, func(r *rules.Reader) error {
		if got, err := holders(r); got != "nftables: |" || err != nil {
			t.Errorf("holders %q, %v", got, err)
		}
		if proxies, hints, err := r.Proxies(); len(proxies)+len(hints) != 0 || err != nil {
			t.Errorf("proxies %q, hints %q, %v", proxies, hints, err)
		}
		for _, flavour := range []string{rules.NFT, rules.Legacy} {
			for _, f := range hostport.Families() {
				present, err1 := r.Present(flavour, f)
				chains, err2 := r.Chains(flavour, f, "nat")
				found, err3 := r.Rules(flavour, nft.Table{Family: f.NFProto(), Name: "nat"}, "OUTPUT")
				if err := errors.Join(err1, err2); present || len(chains) > 0 || err != nil || len(found) > 0 || errors.Is(err3, fs.ErrNotExist) != (flavour == rules.Legacy) {
					t.Errorf("%s %s: present %v, chains %q, %v, %v", flavour, f, present, chains, err, err3)
				}
			}
		}
		return nil
	})
	for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
		if out := n.Run("cat", "/proc/net/"+file); out != "" {
			t.Errorf("%s: %q", file, out)
		}
	}
}

func TestHolders(t *testing.T) {
	for flavour, want := range map[string]string{
		rules.NFT: "nftables: ip mangle/PREROUTING/-150 ip nat/PREROUTING/-100 ip nat/OUTPUT/-100 | ip mangle/FORWARD/true",
		rules.Legacy: "nftables: |\n" +
			"iptables-legacy: ip mangle/PREROUTING/-150 ip mangle/OUTPUT/-150 ip nat/PREROUTING/-100 ip nat/OUTPUT/-100 | ip mangle/INPUT/false ip mangle/FORWARD/true ip mangle/POSTROUTING/false ip nat/INPUT/false ip nat/POSTROUTING/false",
	} {
		n := lab.NewNetns(t, "reader")
		n.Feed(kubeProxy, "iptables-"+flavour+"-restore")
		read(t, n, rules.Options{Chain: func(name string) bool { return strings.HasPrefix(name, "MINE-") }}, func(r *rules.Reader) error {
			got, err1 := holders(r)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", flavour, d)
			}
			proxies, hints, err2 := r.Proxies()
			if d := cmp.Diff([][]string{{flavour}, {flavour}}, [][]string{proxies, hints}); d != "" {
				t.Errorf("%s (-want +got):\n%s", flavour, d)
			}
			chains, err3 := r.Chains(flavour, hostport.IPv4, "nat")
			if all := strings.Join(chains, " "); !strings.Contains(all, "MINE-1") || flavour == rules.NFT && strings.Contains(all, "KUBE-SERVICES") {
				t.Errorf("%s: chains %q", flavour, chains)
			}
			for _, f := range hostport.Families() {
				if there, err := r.Present(flavour, f); there != (f == hostport.IPv4) || err != nil {
					t.Errorf("%s %s is present: %v, %v", flavour, f, there, err)
				}
			}
			return errors.Join(err1, err2, err3)
		})
	}
}

// Of a mapping's concern are rules without a destination, and those for the node. Rules of
// nf_tables for other ports are left out too; without mappings all are there.
func TestConcerns(t *testing.T) {
	node := []hostport.Local{{Prefix: netip.MustParsePrefix("192.0.2.1/32")}}
	m := hostport.Mapping{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 80, ContainerPort: 80}
	for flavour, want := range map[string][]int{rules.NFT: {1, 3}, rules.Legacy: {2, 3}} {
		n := lab.NewNetns(t, "reader")
		n.Feed(kubeProxy, "iptables-"+flavour+"-restore")
		for i, o := range []rules.Options{{Local: node, Mappings: []hostport.Mapping{m}}, {Local: node}} {
			read(t, n, o, func(r *rules.Reader) error {
				got, err := r.Rules(flavour, nft.Table{Family: nft.IPv4, Name: "nat"}, "KUBE-SERVICES")
				if len(got) != want[i] {
					t.Errorf("%s: %d rules, want %d", flavour, len(got), want[i])
				}
				return err
			})
		}
	}
}
