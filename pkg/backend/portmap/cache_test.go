// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

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
	write("net-dead-eth0", `{"containerId":"dead","networkName":"net","netns":"/nonexistent/ns","cniArgs":[["K8S_POD_NAMESPACE","default"],["K8S_POD_NAME","web"]]}`)
	write("net-live-eth0", fmt.Sprintf(`{"containerId":"live","networkName":"net","netns":%q}`, here))
	write("net-two-eth0", `{"containerId":"two","networkName":"net","netns":"/nonexistent/ns"}`)
	write("other-two-eth0", fmt.Sprintf(`{"containerId":"two","networkName":"other","netns":%q}`, here))
	write("net-old-eth0", `{"containerId":"old","networkName":"net"}`)
	write("net-cut-eth0", `{"containerId":"cut"`)
	write("net-deadline-eth0", fmt.Sprintf(`{"containerId":"deadline","networkName":"net","netns":%q}`, here))
	c := openCache(dir)
	for _, tt := range []struct {
		network, id string
		dead        bool
	}{
		{"net", "dead", true}, {"", "dead", true}, {"other", "dead", false},
		{"net", "live", false}, {"net", "unknown", false}, {"net", "old", false}, {"net", "cut", false},
		{"net", "two", true}, {"", "two", false}, {"net", "*", false}, {"net", "[", false}, {"", "", false},
	} {
		if _, got := c.owner(hostport.Owner{Network: tt.network, ContainerID: tt.id}); got != tt.dead {
			t.Errorf("%s of network %q: dead is %v", tt.id, tt.network, got)
		}
	}
	if o, _ := c.owner(hostport.Owner{ContainerID: "dead"}); o.String() != "pod default/web" || o.Network != "net" {
		t.Errorf("the dead is %+v", o)
	}
	if _, dead := openCache("/nonexistent").owner(hostport.Owner{ContainerID: "dead"}); dead {
		t.Error("dead without a cache")
	}
}
