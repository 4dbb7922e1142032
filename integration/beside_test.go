// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"sync"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/inventory"
)

// list beside ADDs and DELs that are being done calls nothing missing or dead: an ADD
// writes its record before its rules, and a DEL removes it after them.
func TestListBesideADDs(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		const pods = 4
		confDir(t, n, fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"},{"type":"portguard","dataDir":"%s/state"}]}`, n.Dir))
		var work sync.WaitGroup
		stop := make(chan struct{})
		for i := range pods {
			pod := n.NewPod(fmt.Sprint("web", i))
			if i == 0 {
				link(n, pod)
			}
			conf := direct(n, pod, fmt.Sprintf(`[{"hostPort":%d,"containerPort":80}]`, 8000+i), `,"localhost":false`)
			work.Go(func() {
				for {
					for _, verb := range []string{"ADD", "DEL"} {
						if out, _, err := n.Call(verb, pod, conf); err != nil {
							t.Errorf("%s: %v %s", verb, err, out)
						}
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		seen := 0
		for round := 0; round < 10 || seen == 0 && round < 500; round++ {
			for where, e := range listed(t, n) {
				seen++
				if e.State != inventory.OK && e.State != inventory.Closed { // there is no network in these pods
					t.Errorf("%s is %s: %s", where, e.State, e.Reason)
				}
			}
		}
		close(stop)
		work.Wait()
		if seen == 0 {
			t.Error("list never met a mapping")
		}
	})
}
