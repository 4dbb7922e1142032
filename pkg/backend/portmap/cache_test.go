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
	write("net-half-eth0", `{"containerId":"half","networkName":"net","netns":"/nonexistent/ns"}`)
	write("other-half-eth0", `{"containerId":"half","networkName":"other","netns":"/elsewhere"}`)
	write("net-cut-eth0", `{"containerId":"cut"`)
	write("net-deadline-eth0", fmt.Sprintf(`{"containerId":"deadline","networkName":"net","netns":%q}`, here))
	sight := func(path string) (hostport.Life, string) {
		switch path {
		case here:
			return hostport.Alive, ""
		case "/nonexistent/ns":
			return hostport.Dead, ""
		}
		return hostport.Unknown, "why"
	}
	c := openCache(dir, sight)
	for _, tt := range []struct {
		network, id string
		want        hostport.Life
	}{
		{"net", "dead", hostport.Dead}, {"", "dead", hostport.Dead}, {"other", "dead", hostport.Alive},
		{"net", "live", hostport.Alive}, {"net", "unknown", hostport.Alive}, {"net", "old", hostport.Unknown}, {"net", "cut", hostport.Alive},
		{"net", "two", hostport.Dead}, {"", "two", hostport.Alive}, {"net", "*", hostport.Alive}, {"net", "[", hostport.Alive}, {"", "", hostport.Alive},
		{"", "half", hostport.Unknown},
	} {
		if _, got, why := c.owner(hostport.Owner{Network: tt.network, ContainerID: tt.id}); got != tt.want || (why != "") != (got == hostport.Unknown) {
			t.Errorf("%s of network %q: %v (%s), want %v", tt.id, tt.network, got, why, tt.want)
		}
	}
	if o, _, _ := c.owner(hostport.Owner{ContainerID: "dead"}); o.String() != "pod default/web" || o.Network != "net" {
		t.Errorf("the dead is %+v", o)
	}
	if _, life, _ := openCache("/nonexistent", sight).owner(hostport.Owner{ContainerID: "dead"}); life != hostport.Alive {
		t.Error("dead without a cache")
	}
}
