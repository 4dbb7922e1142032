// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
)

func listCommand() command {
	return command{
		name: "list", short: "lists every hostPort of this node",
		long: `Lists every hostPort of this node, which no socket shows: address, port, pod,
where it leads, since when, how many connections it got, and its state:

  ok          packets go to the pod
  closed      nothing from outside gets to the pod, or no answer back; the reason
              says where it is lost, and doctor what to do
  waiting for its address
              the hostIP is none of the node's addresses now
  waiting     another interface of the container has the port, or another pod where
              the policy is "warn"; this one takes over when that goes
  shadowed    two have a claim on the port since somebody came later; the reason
              says who gets the packets
  missing     the pod lives and its rules are gone: portguard restore
  owner dead  the pod is gone and its rules are not: portguard gc
  unknown     nobody can tell from here whether the pod lives; the reason
              says what is not seen

BIND says whether a process of the node that binds the port is refused.
PACKETS counts the first packet of each connection. Mappings of the portmap plugin
are shown too. Exit code: 0, or 2 if the node could not be read.`,
		examples: []string{"portguard list", "portguard list -o json | jq '.hostPorts[] | select(.state != \"ok\")'"},
		run:      list,
	}
}

func list(s *session) int {
	l, err := s.inspect.List(s.conf)
	if err != nil {
		return s.fail(err)
	}
	if s.output == "json" {
		return s.json(struct {
			Version int `json:"version"`
			inventory.List
		}{schema, l})
	}
	for _, n := range l.Notes {
		fmt.Fprintln(s.err, "portguard: warning:", plain(n))
	}
	if len(l.HostPorts) == 0 {
		fmt.Fprintln(s.out, "No hostPorts on this node.")
		return OK
	}
	rows := [][]string{{"ADDRESS", "PORT", "POD", "TARGET", "NETWORK", "BACKEND", "AGE", "PACKETS", "BIND", "STATE"}}
	for _, e := range l.HostPorts {
		rows = append(rows, row(e, time.Now()))
	}
	table(s.out, rows)
	for _, r := range l.RefusedBinds {
		fmt.Fprintln(s.out, plain(r.String()+"."))
	}
	if !l.Reservation.On {
		fmt.Fprintf(s.out, "Binds of others to these ports are not refused: %s.\n", plain(l.Reservation.Reason))
	}
	return OK
}

func row(e inventory.Entry, now time.Time) []string {
	pod := cmp.Or(e.Pod, hostport.Owner{ContainerID: e.ContainerID}.Short())
	target, packets, state := "-", "-", string(e.State)
	if e.Target.IsValid() {
		target = e.Target.String()
	}
	if e.Packets != nil {
		packets = fmt.Sprint(*e.Packets)
	}
	if e.Reason != "" {
		state += ": " + e.Reason
	}
	bind := "-"
	if e.Reserved {
		bind = "refused"
	}
	backend := e.Backend
	if e.By != "portguard" {
		backend = fmt.Sprintf("%s (%s)", e.By, e.Backend)
	}
	return []string{e.Address.String(), fmt.Sprintf("%d/%s", e.Port, e.Protocol), pod, target, cmp.Or(e.Network, "-"), backend, age(e.Created, now), packets, bind, state}
}
