// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goiptables "github.com/coreos/go-iptables/iptables"
	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/portmap"
)

// reader reads nf_tables, where iptables-nft has its rules too.
type reader struct{ *nftconn.Reader }

func (r reader) Rules(flavour string, t nft.Table, chain string) ([]nft.Rule, error) {
	if flavour != string(iptables.NFT) {
		return nil, nil
	}
	return r.Reader.Rules(t, chain)
}

// onKernel is the backend of this network namespace.
func onKernel(t *testing.T, tools *iptables.Tools) *Backend {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "results"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "results", "net-abc-eth0"), []byte(`{"containerId":"abc","networkName":"net","netns":"/nonexistent/ns"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	families := hostport.Families()
	return New(Options{CacheDir: dir, Families: families[:], Life: func(string) (hostport.Life, string) { return hostport.Dead, "" }, Open: func() Reader { return reader{nftconn.NewReader()} }, Batch: nftconn.Open().Apply,
		Iptables: tools.Run})
}

// lay makes the rules that portmap makes for a container, in iptables-nft, and with the
// library that it uses.
func lay(t *testing.T, id string, port int, condition ...string) {
	t.Helper()
	ipt, err := goiptables.New(goiptables.Path("iptables-nft"), goiptables.Timeout(5))
	if err != nil {
		need.Skip(t, err)
	}
	chain, n := "CNI-DN-"+id, fmt.Sprint(port)
	for _, c := range []string{portmap.Entry, chain} {
		if ok, _ := ipt.ChainExists("nat", c); !ok {
			err = errors.Join(err, ipt.NewChain("nat", c))
		}
	}
	for _, proto := range []string{"tcp", "udp"} {
		entry := []string{"-p", proto, "-m", "comment", "--comment", fmt.Sprintf(`dnat name: "net" id: "%s"`, id), "-m", "multiport", "--dports", n}
		err = errors.Join(err, ipt.Append("nat", portmap.Entry, append(append(entry, condition...), "-j", chain)...),
			ipt.Append("nat", chain, "-p", proto, "--dport", n, "-s", "127.0.0.1", "-j", "RETURN"),
			ipt.Append("nat", chain, "-p", proto, "--dport", n, "-j", "DNAT", "--to-destination", "10.88.0.2:80"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, b *Backend) backend.State {
	t.Helper()
	s, err := b.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func claims(s backend.State) (out []string) {
	for _, c := range s.Claims() {
		out = append(out, fmt.Sprintf("%s %s %s %v", c.Where, c.Owner.ContainerID, c.Mapping, c.Life == hostport.Dead))
	}
	return out
}

// The dead go, or who is deleted, and the rest stays as it is.
func TestRemove(t *testing.T) {
	need.Netns(t)
	tools := &iptables.Tools{Wait: 5 * time.Second}
	b := onKernel(t, tools)
	if s := load(t, b); len(s.Claims()) > 0 {
		t.Fatalf("at first %v", s.Claims())
	}
	lay(t, "def", 81)
	before := save(t, tools)
	lay(t, "abc", 80, "-m", "recent", "--rcheck", "--name", "x")
	s := load(t, b)
	want := []string{"81/tcp false", "81/udp false", "80/tcp true", "80/udp true"}
	for i, id := range []string{"def", "def", "abc", "abc"} {
		want[i] = "iptables-nft table nat " + id + " " + want[i]
	}
	if diff := cmp.Diff(want, claims(s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	gone := hostport.Owner{Network: "net", ContainerID: "abc"}
	if a, ok := s.Recover(portmap.Key(gone)); !ok || a.Owner != gone || len(a.Mappings) != 2 || len(a.Pods) != 1 {
		t.Errorf("recovered %+v, %v", a, ok)
	}
	if err := b.Apply(s, s.With(hostport.Attachment{}, portmap.Key(gone))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, save(t, tools)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := b.Apply(s, s.Without(portmap.Keys(gone)...)); err != nil {
		t.Errorf("what is gone already: %v", err)
	}
	if err := b.Apply(load(t, b), s); !errors.Is(err, backend.ErrNotUndone) {
		t.Errorf("back: %v", err)
	}
}

// Where iptables cannot show the table, nf_tables removes.
func TestRemoveBesideNativeRules(t *testing.T) {
	need.Netns(t)
	tools := &iptables.Tools{Wait: 5 * time.Second}
	b := onKernel(t, tools)
	lay(t, "abc", 80)
	if out, err := exec.Command("nft", "add rule ip nat "+portmap.Entry+" tcp dport 9 redirect to :10").CombinedOutput(); err != nil {
		need.Skip(t, "nft: ", err, string(out))
	}
	s := load(t, b)
	if err := b.Apply(s, s.Without(portmap.Keys(hostport.Owner{Network: "net", ContainerID: "abc"})...)); err != nil {
		t.Fatal(err)
	}
	if s := load(t, b); len(s.Claims()) > 0 {
		t.Errorf("left: %v", claims(s))
	}
}

// With portmap's backend for nftables the ID is all that is known.
func TestRemoveNative(t *testing.T) {
	need.Netns(t)
	b := onKernel(t, &iptables.Tools{Wait: time.Second})
	script := `table ip cni_hostport {
		chain hostports {
			tcp dport 80 dnat to 10.88.0.2:80 comment "abc"
			ip daddr 192.0.2.1 udp dport 53 dnat to 10.88.0.3:53 comment "def"
		}
		chain masquerading { ip saddr 10.88.0.2 ip daddr 10.88.0.2 counter comment "abc"; }
	}`
	cmd := exec.Command("nft", "-f", "-")
	if cmd.Stdin = strings.NewReader(script); cmd.Run() != nil {
		need.Skip(t, "nft is not installed, or the kernel has no nf_tables")
	}
	s := load(t, b)
	want := []string{"nftables table ip cni_hostport abc 80/tcp true", "nftables table ip cni_hostport def 192.0.2.1:53/udp false"}
	if diff := cmp.Diff(want, claims(s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := b.Apply(s, s.Without(portmap.Keys(hostport.Owner{Network: "net", ContainerID: "abc"})...)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("nft", "list", "table", "ip", "cni_hostport").Output()
	if err != nil || strings.Contains(string(out), "abc") || !strings.Contains(string(out), "def") {
		t.Errorf("%v, left:\n%s", err, out)
	}
}

// save is what iptables-save prints of nat.
func save(t *testing.T, tools *iptables.Tools) []string {
	t.Helper()
	nat, err := tools.Save(iptables.NFT, hostport.IPv4, "nat")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range nat.Chains() {
		out = append(out, c.Name)
		for _, r := range c.Rules {
			out = append(out, r.Text)
		}
	}
	slices.Sort(out)
	return out
}
