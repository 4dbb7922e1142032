// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"encoding/json"
	"fmt"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Collection is what a GC asks for.
type Collection struct {
	Teardown
	// Given is set if the runtime said which attachments are valid. Without it
	// nothing may be removed.
	Given bool
	// Valid are the keys of those attachments.
	Valid []string
}

// ParseGC reads the configuration of a GC (CNI 1.1). The error is a *FieldError
// for everything but broken JSON: what is not understood must not lead to a
// removal.
func ParseGC(stdin []byte) (Collection, error) {
	g := Collection{Teardown: ParseTeardown(stdin)}
	var w struct {
		Name  string          `json:"name"`
		Valid json.RawMessage `json:"cni.dev/valid-attachments"`
	}
	if err := decode(stdin, "", &w); err != nil {
		return g, err
	}
	if w.Name == "" {
		return g, fieldErrorf("name", "is missing; give the network a name in the conflist")
	}
	var valid []struct {
		ContainerID string `json:"containerID"`
		IfName      string `json:"ifname"`
	}
	// A null is what libcni makes of a list that the runtime did not set: CNI asks for a
	// list, and a runtime without attachments can give an empty one.
	if g.Given = len(w.Valid) > 0 && string(w.Valid) != "null"; !g.Given {
		return g, nil
	}
	if err := decode(w.Valid, "cni.dev/valid-attachments", &valid); err != nil {
		return g, err
	}
	for i, v := range valid {
		if v.ContainerID == "" || v.IfName == "" {
			return g, fieldErrorf(fmt.Sprintf("cni.dev/valid-attachments[%d]", i), "containerID %q and ifname %q are both needed; nothing is removed, the container runtime must give them", v.ContainerID, v.IfName)
		}
		g.Valid = append(g.Valid, hostport.Owner{ContainerID: v.ContainerID, IfName: v.IfName}.Key())
	}
	return g, nil
}
