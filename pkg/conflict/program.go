// SPDX-License-Identifier: Apache-2.0

package conflict

import (
	"fmt"

	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
)

// findPrograms refuses where a BPF program chooses the sockets: which ports it takes, for
// which clients, is in its code and its maps, and the mapping would be asked before it. The
// kernel asks for TCP and UDP only.
func findPrograms(r *Report, a hostport.Attachment, s Snapshot, m hostport.Mapping) {
	unknown := s.Programs.Unknown != "" && !s.Programs.Nested // of that doctor tells
	if m.Proto == hostport.SCTP || len(s.Programs.Attached) == 0 && !unknown {
		return
	}
	f := Finding{Kind: finding.SocketProgram, Mapping: m, Where: "attached to the network namespace of the node", At: both(Socket, prioProgram), Dst: a.Destinations(s.Local, m), Part: true}
	for _, p := range s.Programs.Attached {
		f.Who = p.String()
		f.say(f.Kind.Remedy(), "hostPort %s may be taken: %s is %s and may give any port to a socket (bpftool prog show id %d)", m, p, f.Where, p.ID)
		r.add(f)
	}
	if unknown {
		f.Who, f.Where, f.Conditional = "a BPF program (sk_lookup)", "not known", true
		f.Message = fmt.Sprintf("whether a BPF program (sk_lookup) has the traffic of hostPorts is not known: %s", s.Programs.Unknown)
		r.add(f)
	}
}
