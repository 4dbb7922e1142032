// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/nft"
)

func TestScript(t *testing.T) {
	d, err := iptsave.Parse(`*nat
:PREROUTING ACCEPT [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-DN-mine - [0:0]
:CNI-DN-mine2 - [0:0]
:CNI-DN-other - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"mine\"" -m multiport --dports 80 -j CNI-DN-mine
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"other\"" -m multiport --dports 81 -j CNI-DN-other
-A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"mine\"" -m multiport --dports 80 -j CNI-DN-mine
-A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net2\" id: \"mine\"" -m multiport --dports 81 -j CNI-DN-mine2
-A CNI-HOSTPORT-DNAT -p udp -m multiport --dports 82 -j CNI-DN-mine
-A CNI-DN-mine -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80
COMMIT
`)
	if err != nil {
		t.Fatal(err)
	}
	rule := func(proto, net string, port int, to string) string {
		return fmt.Sprintf("-D CNI-HOSTPORT-DNAT -p %s -m comment --comment \"dnat name: \\\"%s\\\" id: \\\"mine\\\"\" -m multiport --dports %d -j %s\n", proto, net, port, to)
	}
	const mine, mine2 = "-F CNI-DN-mine\n-X CNI-DN-mine\n", "-F CNI-DN-mine2\n-X CNI-DN-mine2\n"
	both := rule("tcp", "net", 80, "CNI-DN-mine") + rule("udp", "net", 80, "CNI-DN-mine")
	for network, want := range map[string]string{
		"net":  both + mine,
		"net2": rule("udp", "net2", 81, "CNI-DN-mine2") + mine2,
		"":     both + rule("udp", "net2", 81, "CNI-DN-mine2") + mine + mine2,
	} {
		if diff := cmp.Diff("*nat\n"+want+"COMMIT\n", Script(d, hostport.Owner{Network: network, ContainerID: "mine"})); diff != "" {
			t.Errorf("network %q (-want +got)\n%s", network, diff)
		}
	}
	for _, o := range []hostport.Owner{{Network: "net", ContainerID: "nobody"}, {Network: "net"}, {Network: "net3", ContainerID: "mine"}} {
		if s := Script(d, o); s != "" {
			t.Errorf("%+v, who has nothing: %q", o, s)
		}
	}
	if s := Script(nil, hostport.Owner{ContainerID: "mine"}); s != "" {
		t.Errorf("no rules: %q", s)
	}
}

func TestMentioned(t *testing.T) {
	rules := []nft.Rule{{}, {Exprs: []nft.Expr{{Name: "match", Attrs: nft.Attrs("....dnat name: \"net\" id: \"mine\"\x00\x00")}}}}
	for id, want := range map[string]bool{"mine": true, "other": false, "": false} {
		if got := Mentioned(rules, hostport.Owner{ContainerID: id}); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
}

func TestRemove(t *testing.T) {
	for id, empty := range map[string]bool{"mine": false, "nobody": true, "": true} {
		b := &nft.Batch{}
		Remove(b, Tables()[0], map[string][]nft.Rule{"hostports": {{Handle: 1, Comment: "mine"}, {Handle: 2, Comment: "other"}, {Handle: 3}}}, id)
		if b.Empty() != empty {
			t.Errorf("%q: empty is %v", id, b.Empty())
		}
	}
}

// Only what the cache knows, and whose namespace is gone, is dead.
func TestDead(t *testing.T) {
	dir, here := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "results"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "results", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("net-dead-eth0", `{"containerId":"dead","networkName":"net","netns":"/nonexistent/ns"}`)
	write("net-live-eth0", fmt.Sprintf(`{"containerId":"live","networkName":"net","netns":%q}`, here))
	write("net-two-eth0", `{"containerId":"two","networkName":"net","netns":"/nonexistent/ns"}`)
	write("other-two-eth0", fmt.Sprintf(`{"containerId":"two","networkName":"other","netns":%q}`, here))
	write("net-old-eth0", `{"containerId":"old","networkName":"net"}`)
	write("net-cut-eth0", `{"containerId":"cut"`)
	write("net-deadline-eth0", fmt.Sprintf(`{"containerId":"deadline","networkName":"net","netns":%q}`, here))
	for _, tt := range []struct {
		network, id string
		dead        bool
	}{
		{"net", "dead", true}, {"", "dead", true}, {"other", "dead", false},
		{"net", "live", false}, {"net", "unknown", false}, {"net", "old", false}, {"net", "cut", false},
		{"net", "two", true}, {"", "two", false}, {"net", "*", false}, {"net", "[", false}, {"", "", false},
	} {
		if got := Dead(dir, hostport.Owner{Network: tt.network, ContainerID: tt.id}); got != tt.dead {
			t.Errorf("%s of network %q: dead is %v", tt.id, tt.network, got)
		}
	}
}
