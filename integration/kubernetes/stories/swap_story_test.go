// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"testing"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// portguard takes portmap's place under running pods, and gives it back.
func TestSwap(t *testing.T) {
	s := begin(t)
	defer s.hostportsBy("portguard")
	s.hostportsBy("portmap")
	s.run("old", spec("[::]:7500"))
	s.run("stays", spec("7501"))

	s.hostportsBy("portguard")
	want(t, "a pod of portmap's", s.name(client, "tcp", node.V4+":7501"), "stays")
	want(t, "it is listed by", s.entry(7501).By, "portmap")
	s.create("same", spec("["+node.V6+"]:7500"))
	s.refused("same", "7500/tcp is taken", "portmap", s.ns+"/old")
	s.run("new", spec("7502"))
	s.alone("new", 7502)
	s.remove("old")
	s.runsSoon("same")
	want(t, "the port of a pod that went", s.name(client, "tcp", "["+node.V6+"]:7500"), "same")
	s.remove("stays", "same")
	s.until("their mappings are gone", func() bool { return len(s.list()) == s.lines("new") })

	// Back: portmap does not know the pods of portguard, "gc" does when they are dead.
	s.hostportsBy("portmap")
	want(t, "a pod of portguard's", s.name(client, "tcp", node.V4+":7502"), "new")
	s.run("last", spec("7503"))
	want(t, "a pod of portmap's", s.name(client, "tcp", node.V4+":7503"), "last")
	s.remove("new", "last")
	s.until("the pods' processes are gone", func() bool { return s.sandboxes(s.Context()) == 0 })
	want(t, "what nobody removed", s.entry(7502).State, "owner dead")
	says(t, "gc", s.portguard("gc"), "pod "+s.ns+"/new")
}
