// SPDX-License-Identifier: Apache-2.0

package way

import "testing"

// What comes to a socket of the node rp_filter drops, too, and no route is missing there.
func TestRoutesToSockets(t *testing.T) {
	for fault, check := range map[Fault]string{ReversePath: CheckReverse, NoWayBack: CheckRoute, NoRoute: ""} {
		c := closes(t, model(t, "", routes{"203.0.113.9 192.0.2.1 eth0": {Fault: fault}}), Outside, listener())
		if (c != nil) != (check != "") || c != nil && (c.Check != check || c.Back != (fault == NoWayBack)) {
			t.Errorf("fault %d: %+v", fault, c)
		}
	}
	// The answer has a route of its own, unless the socket is bound to a link.
	m, bound := model(t, "", routes{"192.0.2.1 203.0.113.9 ": {Fault: NoRoute}}), listener()
	bound.By = eth0.Name
	if c := closes(t, m, Outside, listener()); c == nil || !c.Back || c.What != "there is no route to 203.0.113.9" {
		t.Errorf("no route for the answer: %+v", c)
	}
	if c := closes(t, m, Outside, bound); c != nil {
		t.Errorf("no route for the answer, but by the link: %+v", c)
	}
}
