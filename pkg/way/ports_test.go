// SPDX-License-Identifier: Apache-2.0

package way

import (
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
)

// asked keeps what the kernel is asked for.
type asked struct {
	routes
	all map[string]Route
}

func (a asked) Route(q Route) (Leg, error) {
	a.all[q.Dst.String()] = q
	return a.routes.Route(q)
}

// Rules for routing may ask for the protocol and the ports: on the way to a pod for its own port,
// and on the way back from that.
func TestPortsOnTheWay(t *testing.T) {
	a := asked{routes{}, map[string]Route{}}
	m := model(t, "", nil)
	m.Router = a
	if c := closes(t, m, Outside, claimed()); c != nil {
		t.Fatal(c)
	}
	if q := a.all[pod.String()]; q.Proto != hostport.TCP || q.Dport != 80 || q.Sport != 0 {
		t.Errorf("to the pod: %+v", q)
	}
	if q := a.all[client.String()]; q.Proto != hostport.TCP || q.Sport != 80 || q.Dport != 0 {
		t.Errorf("back: %+v", q)
	}
	if c := closes(t, m, Outside, listener()); c != nil || a.all[node.String()].Dport != 8080 {
		t.Errorf("to a socket: %+v, %+v", c, a.all[node.String()])
	}
}
