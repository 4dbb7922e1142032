// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"net/netip"
	"time"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
)

// BackendOptions are what backends depend on.
type BackendOptions struct {
	On *host.Addressing
	// Reach are the destinations at which mappings may be.
	Reach map[hostport.Family]addrset.Set
	// Into names the backend that new mappings go to; their guard goes there too.
	Into string
	// CacheDir is libcni's, which knows the containers of other plugins.
	CacheDir string
	// Life says whether the network namespace at a path is there, and if nobody can tell why
	// not.
	Life func(path string) (hostport.Life, string)
	// Wait bounds what others may make us wait for.
	Wait time.Duration
	// Users are the attachments that links with route_localnet lead to, as far as the
	// backends tell that are loaded.
	Users func() map[string][]hostport.Key
	// Records are the attachments that have records, as far as they matter.
	Records func() []hostport.Attachment
	// Known reports whether an attachment has a record or mappings, as far as the backends tell
	// that are loaded.
	Known func(hostport.Key) bool
}

// A Node is what the verbs ask of the machine. Package node has the real one.
type Node interface {
	// BootID tells this boot from others.
	BootID() string
	// Sight is what is seen of network namespaces from here, from now on.
	Sight() *state.Sight
	// Addresses are what the node answers for. Those of the links also are not its own.
	Addresses(also hostport.Links) (*host.Addressing, error)
	// LinkTo is the link by which the node reaches a pod, the zero Link if there is none.
	LinkTo(pod netip.Addr) (walk.Link, error)
	RouteLocalnet(link string) (bool, error)
	// LinkIndex and LinkName are 0 and "" where there is no such link.
	LinkIndex(name string) (int, error)
	LinkName(index int) (string, error)
	// Facts are what decides where an attachment belongs.
	Facts(on *host.Addressing) (place.Facts, error)
	// Backends are all places, in the order in which changes are applied.
	Backends(o BackendOptions) []backend.Backend
	// Begin begins to read what Look will need for mappings, while something else is done.
	Begin(on *host.Addressing, ms []hostport.Mapping)
	// Look calls f with what the node is like as far as mappings matter, until one
	// reading was consistent, at most for the time wait. Pods are named after podLogs.
	Look(wait time.Duration, podLogs string, on *host.Addressing, ms []hostport.Mapping, f func(conflict.Snapshot) error) error
	// CallerBinds reports whether the runtime binds the ports itself when ADD is done.
	CallerBinds() bool
	// Holds reports why ports cannot be held against binds of others.
	Holds() error
	// CalledAlone reports whether the runtime lets nobody else call plugins meanwhile.
	CalledAlone() bool
	// Allowed reports why the kernel would not let the caller change rules.
	Allowed() error
	// DropUDP forgets UDP flows of a family.
	DropUDP(f hostport.Family, stale []host.Stale) error
}
