// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/way"
)

// A node has mappings in memory. Something happens after each reading of them.
type node struct {
	Node
	proc     string
	mu       sync.Mutex
	has      map[hostport.Key]hostport.Attachment
	readings int
	happens  func(reading int)
	facts    place.Facts
}

func (*node) Gone(uint64) bool                                   { return true }
func (*node) BootID() string                                     { return "boot" }
func (n *node) Sight() *state.Sight                              { return state.See(n.proc) }
func (*node) Addresses(hostport.Links) (*host.Addressing, error) { return &host.Addressing{}, nil }
func (n *node) Facts(*host.Addressing) (place.Facts, error)      { return n.facts, nil }

func (n *node) Backends(plugin.BackendOptions) []backend.Backend { return []backend.Backend{n} }

func (*node) Look(_ time.Duration, _ string, _ *host.Addressing, _ []hostport.Mapping, f func(conflict.Snapshot) error) error {
	return f(conflict.Snapshot{})
}

func (*node) Onward(_ time.Duration, _ *host.Addressing, f func(conflict.Snapshot) error) error {
	return f(conflict.Snapshot{})
}

func (*node) LinkTo(netip.Addr) (l walk.Link, err error)               { return l, nil }
func (*node) Links() ([]walk.Link, []string, error)                    { return nil, nil, nil }
func (*node) Families() []hostport.Family                              { return nil }
func (*node) BridgesFilter() bool                                      { return false }
func (*node) Router() way.Router                                       { return nil }
func (*node) Entries(*host.Addressing, []string) ([]way.Source, error) { return nil, nil }
func (*node) Pods(func(hostport.Key) host.Home, bool) Pods             { return host.NewPods(nil, nil) }
func (*node) Name() string                                             { return place.NFTables }
func (*node) Owns(nft.Table, string) bool                              { return false }
func (*node) Apply(backend.State, backend.State) error                 { return nil }
func (*node) Try(backend.State, backend.State) error                   { return nil }

func (n *node) Load() (backend.State, error) {
	out := held{}
	n.mu.Lock()
	maps.Copy(out, n.has)
	n.mu.Unlock()
	n.readings++
	n.happens(n.readings)
	return out, nil
}

// held are the mappings of one reading.
type held map[hostport.Key]hostport.Attachment

func (h held) With(hostport.Attachment, ...hostport.Key) backend.State { return h }
func (h held) Without(...hostport.Key) backend.State                   { return h }

func (h held) WithAll([]hostport.Attachment, ...hostport.Key) backend.State { return h }

func (h held) Claims() (out []hostport.Claim) {
	for key, a := range h {
		out = append(out, hostport.Claim{Owner: a.Owner, Key: key, Mapping: a.Mappings[0], Backend: place.NFTables, Packets: -1})
	}
	return out
}

func (h held) Whole(a hostport.Attachment) bool { return len(h.Missing(a)) == 0 }

func (h held) Missing(a hostport.Attachment) []string {
	if _, ok := h[a.Owner.Key()]; ok {
		return nil
	}
	return []string{"all"}
}

func (h held) Recover(key hostport.Key) (hostport.Attachment, bool) { a, ok := h[key]; return a, ok }

// bench is a node with records; the lock is held while an ADD or a DEL is done.
type bench struct {
	*node
	*testing.T
	store *state.Store
	conf  *netconf.Config
}

func newBench(t *testing.T) *bench {
	dir := t.TempDir()
	facts := place.Facts{NFTables: func() (lacks, err error) { return nil, nil }, Iptables: func() (place.Iptables, error) {
		return place.Iptables{KubeProxy: []string{"legacy"}}, nil
	}}
	n := &node{proc: noProcesses(t), has: map[hostport.Key]hostport.Attachment{}, happens: func(int) {}, facts: facts}
	return &bench{n, t, state.Open(dir), &netconf.Config{DataDir: dir}}
}

// noProcesses is the procfs of a machine where nobody is, wherever the test runs.
func noProcesses(t *testing.T) string {
	proc := t.TempDir()
	err := os.WriteFile(filepath.Join(proc, "status"), []byte("Name:\tx\nNSpid:\t7\n"), 0o600)
	for name, to := range map[string]string{"self/ns/pid": "pid:[4026531836]", "self/ns/mnt": "mnt:[1]", "1/ns/net": "net:[2]"} {
		path := filepath.Join(proc, name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(to, path))
	}
	if err = errors.Join(err, os.Rename(filepath.Join(proc, "status"), filepath.Join(proc, "self/status"))); err != nil {
		t.Fatal(err)
	}
	return proc
}

func (b *bench) attachment(name string, port uint16) hostport.Attachment {
	return hostport.Attachment{
		Owner:    hostport.Owner{Network: "net", ContainerID: name, IfName: "eth0", PodName: name, PodNamespace: "default"},
		Pods:     []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")},
		Mappings: []hostport.Mapping{{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: port, ContainerPort: 80}},
	}
}

func (b *bench) netns(name string) string { return filepath.Join(b.conf.DataDir, name) }

// record is the first half of an ADD, mapping the second.
func (b *bench) record(a hostport.Attachment) {
	path := b.netns(a.Owner.ContainerID)
	var st unix.Stat_t
	err := os.WriteFile(path, nil, 0o600)
	if err == nil {
		err = unix.Stat(path, &st)
	}
	if err == nil {
		err = b.store.Save(state.Record{Attachment: a, Backend: place.NFTables, BootID: "boot", Created: time.Now().Truncate(time.Second), Netns: state.Netns{Path: path, Dev: st.Dev, Inode: st.Ino}})
	}
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) mapping(a hostport.Attachment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.has[a.Owner.Key()] = a
}

func (b *bench) lock() (unlock func()) {
	unlock, err := b.store.Lock(time.Second)
	if err != nil {
		b.Fatal(err)
	}
	return unlock
}

// list is what list shows.
func (b *bench) list() []inventory.Entry {
	b.Helper()
	i := &Inspector{Node: b.node, Plugin: plugin.New(b.node, io.Discard, io.Discard)}
	l, err := i.List(b.conf)
	if err != nil {
		b.Fatal(err)
	}
	return l.HostPorts
}

// states are those that list shows, by port.
func (b *bench) states() map[uint16]inventory.State {
	b.Helper()
	out := map[uint16]inventory.State{}
	for _, e := range b.list() {
		out[e.Port] = e.State
	}
	return out
}

func (b *bench) want(readings int, want map[uint16]inventory.State) {
	b.Helper()
	got := b.states()
	for port := range uint16(100) {
		if got[port] != want[port] {
			b.Errorf("port %d: got %q, want %q", port, got[port], want[port])
		}
	}
	if b.readings != readings {
		b.Errorf("the node was read %d times, want %d", b.readings, readings)
	}
}

// A node on which nothing is wrong is read once.
func TestLookOnce(t *testing.T) {
	b := newBench(t)
	b.record(b.attachment("web", 80))
	b.mapping(b.attachment("web", 80))
	b.want(1, map[uint16]inventory.State{80: inventory.OK})
}

// What works and is not where it belongs any more is shown as CHECK and restore see it.
func TestLookAtWhatBelongsElsewhere(t *testing.T) {
	b := newBench(t)
	b.record(b.attachment("web", 80))
	b.mapping(b.attachment("web", 80))
	b.facts.IPVS = true
	const says = "its rules are in nftables and belong in iptables-legacy: kube-proxy is in ipvs mode"
	if l := b.list(); len(l) != 1 || l[0].State != inventory.Missing || l[0].Reason != says {
		t.Errorf("list says %+v", l)
	}
}

// An ADD that was between its record and its rules is waited for, and no other begins
// meanwhile; what is lost is missing.
func TestLookBesideADDs(t *testing.T) {
	b := newBench(t)
	lost, first := b.attachment("lost", 1), b.attachment("first", 2)
	b.record(lost)
	b.record(first)
	unlock := b.lock()
	time.AfterFunc(50*time.Millisecond, func() {
		b.mapping(first)
		unlock()
	})
	b.happens = func(reading int) {
		if _, err := b.store.Lock(time.Millisecond); reading == 2 && err == nil {
			t.Error("an ADD could begin at the second reading")
		}
	}
	b.want(2, map[uint16]inventory.State{1: inventory.Missing, 2: inventory.OK})
}

// A DEL that removes the record after the rules were read leaves nothing that is dead.
func TestLookBesideDELs(t *testing.T) {
	b := newBench(t)
	web, dead := b.attachment("web", 80), b.attachment("dead", 81)
	for _, a := range []hostport.Attachment{web, dead} {
		b.record(a)
		b.mapping(a)
	}
	if err := os.Remove(b.netns("dead")); err != nil {
		t.Fatal(err)
	}
	b.happens = func(reading int) {
		if reading == 1 {
			delete(b.has, web.Owner.Key())
			_ = os.Remove(b.netns("web"))
		} else {
			_ = b.store.Delete(web.Owner.Key())
		}
	}
	b.want(2, map[uint16]inventory.State{81: inventory.Dead})
}

// Who holds the lock for long is not waited for.
func TestLookBesideAHolder(t *testing.T) {
	b := newBench(t)
	b.record(b.attachment("lost", 1))
	defer b.lock()()
	start := time.Now()
	b.want(2, map[uint16]inventory.State{1: inventory.Missing})
	if d := time.Since(start); d > 2*patience {
		t.Errorf("it took %s", d)
	}
}

// To look makes no directory, be there mappings of the dead.
func TestLookMakesNothing(t *testing.T) {
	b := newBench(t)
	b.conf = &netconf.Config{DataDir: filepath.Join(b.conf.DataDir, "typo")}
	a := b.attachment("dead", 80)
	a.Owner.Netns = 1
	b.mapping(a)
	b.want(2, map[uint16]inventory.State{80: inventory.Dead})
	if _, err := os.Stat(b.conf.DataDir); err == nil {
		t.Error("there is a directory now")
	}
}
