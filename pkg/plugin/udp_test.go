// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

// The kernel goes through all connections that it knows for each request, so that healing and
// GC ask it once a family, however many pods there are.
func TestFlowsAreDroppedTogether(t *testing.T) {
	b := newBench(t)
	for i, name := range []string{"one", "two", "three"} {
		p := b.pod(name)
		req := b.request(p, 80+i, "")
		for k := range req.Attachment.Mappings {
			req.Attachment.Mappings[k].Proto = hostport.UDP
		}
		if err := b.addLocked(req, b.store, p.netns, false); err != nil {
			t.Fatal(err)
		}
	}
	asked := func(call func() error) int {
		t.Helper()
		before := b.node.drops
		if err := call(); err != nil {
			t.Fatal(err)
		}
		return b.node.drops - before
	}
	const families = 2
	b.flush()
	if got := asked(func() error { _, err := b.Restore(b.conf()); return err }); got > families {
		t.Errorf("restore of three pods asks %d times", got)
	}
	if got := asked(func() error { return b.GC(b.args(b.pod("four"), `,"cni.dev/valid-attachments":[]`)) }); got > families {
		t.Errorf("GC of three pods asks %d times", got)
	}
	if len(b.node.dropped) < 6 {
		t.Errorf("only %d flows were dropped", len(b.node.dropped))
	}
}
