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
	mine, other := Chain("net", "mine"), Chain("net", "other")
	d, err := iptsave.Parse(fmt.Sprintf(`*nat
:PREROUTING ACCEPT [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:%[1]s - [0:0]
:%[2]s - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"mine\"" -m multiport --dports 80 -j %[1]s
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"other\"" -m multiport --dports 81 -j %[2]s
-A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"mine\"" -m multiport --dports 80 -j %[1]s
-A %[1]s -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80
COMMIT
`, mine, other))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`*nat
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"mine\"" -m multiport --dports 80 -j %[1]s
-D CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"mine\"" -m multiport --dports 80 -j %[1]s
-F %[1]s
-X %[1]s
COMMIT
`, mine)
	if diff := cmp.Diff(want, Script(d, mine)); diff != "" {
		t.Error(diff)
	}
	if s := Script(d, Chain("net", "nobody")); s != "" {
		t.Errorf("somebody who has nothing: %q", s)
	}
	if s := Script(nil, mine); s != "" {
		t.Errorf("no rules: %q", s)
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
