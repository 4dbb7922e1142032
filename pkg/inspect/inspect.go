// SPDX-License-Identifier: Apache-2.0

// Package inspect looks at the node for people: what "portguard list", "explain",
// "doctor" and "metrics" tell. It reads without the lock, which it waits for only when
// something seems to be missing, and changes nothing; what cannot be read is noted, and the
// rest is shown.
package inspect

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/way"
)

// A Node is what is asked of the machine besides what the verbs ask.
type Node interface {
	plugin.Node
	// Families are those the kernel has.
	Families() []hostport.Family
	// Links are all links, and the names of those that pods and containers are on.
	Links() (all []walk.Link, bridges []string, err error)
	Forwarding(f hostport.Family) (bool, error)
	// BridgesFilter reports whether rules see what bridges forward.
	BridgesFilter() bool
	EphemeralPorts() (from, to uint16, err error)
	ReservedPorts() ([][2]uint16, error)
	// SocketPrograms are the BPF programs that choose sockets, RouteRules the rules of
	// policy routing that are asked before table local.
	SocketPrograms() (hostport.Programs, error)
	RouteRules() ([]hostport.RouteRule, error)
	// Proxies says what kube-proxy and others have on the node.
	Proxies(on *host.Addressing) (doctor.Proxies, error)
	// PodsOfGroups are what the pods are called that cgroups belong to, without those of none:
	// see hostport.Refusal.
	PodsOfGroups(groups []uint32, podLogs string) map[uint32]string
	// Virtual are the links that carry nothing but addresses and may be of infrastructure.
	Virtual(on *host.Addressing) ([]doctor.Virtual, error)
	// Entries are those who send packets from outside, by other links than those of pods.
	Entries(on *host.Addressing, pods []string) ([]way.Source, error)
	// AskBound makes Look tell who has bound a TCP port and does not listen yet, whom an ADD finds
	// when it holds the port. It is asked for after the backends are loaded.
	AskBound(port uint16)
	// Router asks the kernel for routes.
	Router() way.Router
	// Pods looks into the network namespaces of pods; with ears also who waits for packets there.
	Pods(home func(hostport.Key) host.Home, ears bool) Pods
	// Onward calls f with all rules of the node, for packets wherever they go, until one
	// reading was consistent, at most for the time wait.
	Onward(wait time.Duration, on *host.Addressing, f func(conflict.Snapshot) error) error
}

// Pods are what is looked into.
type Pods interface {
	way.Pods
	Close()
}

// An Inspector answers people's questions about a node.
type Inspector struct {
	Node Node
	// Plugin decides as an ADD would.
	Plugin *plugin.Plugin
	// Progress, if set, is told what is being done now.
	Progress func(string)
}

// progress tells a person what takes so long.
func (i *Inspector) progress(format string, args ...any) {
	if i.Progress != nil {
		i.Progress(fmt.Sprintf(format, args...))
	}
}

// A view is the whole node at one time.
type view struct {
	*Inspector
	*plugin.Session
	// attachments are all that have rules or a record, by key; claims their mappings and
	// those of other plugins.
	attachments map[hostport.Key]hostport.Attachment
	claims      []hostport.Claim
	// life says which owners live and unsure why nobody can tell; lost is what attachments
	// lack.
	life   map[hostport.Key]hostport.Life
	unsure map[hostport.Key]string
	lost   map[hostport.Key][]string
	// notes say what could not be read.
	notes []string
}

// patience is how long somebody who holds the lock is waited for.
const patience = 3 * time.Second

// look reads the node, and again under the lock if something is missing or dead, or held for
// nobody: an ADD holds its ports before its record is written, and writes that before its rules,
// and a DEL removes it after them.
func (i *Inspector) look(c *netconf.Config) (*view, error) {
	v, err := i.read(c)
	if err != nil || len(v.lost)+len(v.Forsaken()) == 0 && !slices.Contains(slices.Collect(maps.Values(v.life)), hostport.Dead) {
		return v, err
	}
	if v.Store.Locked() { // otherwise it might make the directory
		if unlock, err := v.Store.LockWithin(patience); err == nil {
			defer unlock()
		}
	}
	return i.read(c)
}

func (i *Inspector) read(c *netconf.Config) (*view, error) {
	i.progress("reading the rules of this node")
	s, err := i.Plugin.Begin(state.Open(c.DataDir), netconf.DefaultLockTimeout, hostport.Attachment{})
	if err != nil {
		return nil, err
	}
	s.PodLogs = c.PodLogsDir
	unread := s.LoadSome(plugin.BackendOptions{CacheDir: c.CacheDir})
	all, damaged := s.Attachments()
	v := &view{Inspector: i, Session: s, attachments: all, claims: s.Claims(), lost: map[hostport.Key][]string{},
		life: map[hostport.Key]hostport.Life{}, unsure: map[hostport.Key]string{}}
	for _, err := range append(unread, damaged...) {
		v.notes = append(v.notes, err.Error())
	}
	// What is in the wrong place and works all the same: doctor tells it, and no mapping is
	// missing for it.
	var works []string
	each(v.Session, func(x interface{ OutOfPlace() []string }) { works = append(works, x.OutOfPlace()...) })
	for key, a := range v.attachments {
		rec := s.Record(key)
		v.life[key], v.unsure[key] = s.Life(a.Owner, rec)
		if rec == nil {
			continue
		}
		if lost := slices.DeleteFunc(s.Lost(rec), func(line string) bool { return slices.Contains(works, line) }); len(lost) > 0 {
			v.lost[key] = lost
		}
	}
	return v, nil
}

// lacks lists what is lost of one mapping of an attachment that has a record, or that it is not
// where it belongs. What a mapping alone would need, others of the pod may give.
func (v *view) lacks(key hostport.Key, m hostport.Mapping) []string {
	rec := v.Record(key)
	if rec == nil || len(v.lost[key]) == 0 {
		return nil
	}
	alone := *rec
	alone.Attachment.Mappings = slices.DeleteFunc(slices.Clone(rec.Attachment.Mappings), func(o hostport.Mapping) bool { return !o.Overlaps(m) })
	lost := slices.DeleteFunc(v.Lost(&alone), func(s string) bool { return !slices.Contains(v.lost[key], s) })
	// A rule for several ports is another one than that for one of them.
	if len(lost) == 0 && v.Cut(rec.Attachment, rec.Backend, m.Family)&hostport.CutIn != 0 {
		return v.lost[key]
	}
	return lost
}

// where is the name of the backend that has the mappings of an attachment.
func (v *view) where(key hostport.Key) string {
	if rec := v.Record(key); rec != nil {
		return rec.Backend
	}
	for _, c := range v.claims {
		if c.Key == key {
			return c.Backend
		}
	}
	return ""
}
