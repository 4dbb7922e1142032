// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
)

// A memState keeps attachments in memory.
type memState struct {
	name string
	// keeps is set for a backend that holds mappings.
	keeps bool
	has   map[hostport.Key]hostport.Attachment
	// made, if set, counts the States that were made of this one.
	made *int
}

func (m memState) Claims() (out []hostport.Claim) {
	for _, key := range slices.Sorted(maps.Keys(m.has)) {
		for _, x := range m.has[key].Mappings {
			if m.keeps {
				out = append(out, hostport.Claim{Owner: m.has[key].Owner, Key: key, Mapping: x, Backend: m.name, Where: m.name, Packets: -1})
			}
		}
	}
	return out
}

func (m memState) With(a hostport.Attachment, instead ...hostport.Key) backend.State {
	return m.WithAll([]hostport.Attachment{a}, instead...)
}

func (m memState) WithAll(as []hostport.Attachment, instead ...hostport.Key) backend.State {
	n := m.Without(instead...).(memState)
	for _, a := range as {
		n.has[a.Owner.Key()] = a
	}
	return n
}

func (m memState) Without(keys ...hostport.Key) backend.State {
	n := memState{m.name, m.keeps, maps.Clone(m.has), m.made}
	if m.made != nil {
		*m.made++
	}
	for _, k := range keys {
		delete(n.has, k)
	}
	return n
}

func (m memState) Missing(a hostport.Attachment) []string {
	if have, ok := m.has[a.Owner.Key()]; !ok || !slices.Equal(have.Mappings, a.Mappings) {
		return []string{m.name + " lacks " + a.Owner.ContainerID}
	}
	return nil
}

func (m memState) Whole(a hostport.Attachment) bool { return len(m.Missing(a)) == 0 }

func (m memState) Recover(key hostport.Key) (hostport.Attachment, bool) {
	a, ok := m.has[key]
	return a, ok
}

// A memBackend is a place in memory. Fail is returned by the next Apply that changes
// anything.
type memBackend struct {
	now      memState
	fail     error
	unloaded error
	// failed, if set, is called when fail was returned.
	failed func()
	// hates is the key of an attachment that cannot be put there.
	hates hostport.Key
	// undone, if set, is asked at each change.
	undone func() error
	log    *[]string
}

func (b *memBackend) Name() string { return b.now.name }

func (b *memBackend) Load() (backend.State, error) { return b.now, b.unloaded }

func (b *memBackend) Try(_, want backend.State) error {
	*b.log = append(*b.log, "try "+want.(memState).name)
	return b.fail
}

func (b *memBackend) Owns(nft.Table, string) bool { return false }

func (b *memBackend) Apply(have, want backend.State) error {
	h, w := have.(memState), want.(memState)
	if maps.EqualFunc(h.has, w.has, func(x, y hostport.Attachment) bool { return fmt.Sprint(x) == fmt.Sprint(y) }) {
		return nil
	}
	*b.log = append(*b.log, b.now.name)
	if err := b.fail; err != nil {
		b.fail = nil
		if b.failed != nil {
			b.failed()
		}
		return err
	}
	if _, wanted := w.has[b.hates]; wanted {
		return errBroken
	}
	if b.undone != nil {
		if err := b.undone(); err != nil {
			return err
		}
	}
	// Only what differs is changed, as in a kernel.
	now := maps.Clone(b.now.has)
	for key := range h.has {
		if _, wanted := w.has[key]; !wanted {
			delete(now, key)
		}
	}
	for key, a := range w.has {
		if had, ok := h.has[key]; !ok || fmt.Sprint(had) != fmt.Sprint(a) {
			now[key] = a
		}
	}
	b.now.has = now
	return nil
}

// A fakeNode is a machine in memory.
type fakeNode struct {
	boot     string
	on       host.Addressing
	facts    place.Facts
	backends []*memBackend
	snap     conflict.Snapshot
	// lookErr is returned by Look, forbidden by Allowed.
	lookErr, forbidden error
	flavour            string
	link               string
	localnet, alone    bool
	binds              bool
	// holder, if set, is a backend.Holder, and looked is called when the node is looked at.
	holder *memBackend
	looked func()
	unheld error
	// proc is a procfs with no processes but those that a test makes.
	proc    string
	dropped []host.Stale
	drops   int
	// also is what Addresses was asked to leave out.
	also hostport.Links
	log  []string
}

var _ Node = (*fakeNode)(nil)

func (n *fakeNode) BootID() string      { return n.boot }
func (n *fakeNode) Sight() *state.Sight { return state.See(n.proc) }
func (n *fakeNode) Addresses(also hostport.Links) (*host.Addressing, error) {
	n.also = also
	return &n.on, nil
}

func (n *fakeNode) LinkTo(netip.Addr) (l walk.Link, err error) {
	if l.Name = n.link; n.link != "" {
		l.Index = 7
	}
	return l, nil
}
func (n *fakeNode) RouteLocalnet(string) (bool, error)          { return n.localnet, nil }
func (n *fakeNode) LinkIndex(string) (int, error)               { return 7, nil }
func (n *fakeNode) LinkName(int) (string, error)                { return n.link, nil }
func (n *fakeNode) Facts(*host.Addressing) (place.Facts, error) { return n.facts, nil }
func (n *fakeNode) Allowed() error                              { return n.forbidden }
func (n *fakeNode) CalledAlone() bool                           { return n.alone }
func (n *fakeNode) CallerBinds() bool                           { return n.binds }
func (n *fakeNode) Holds() error                                { return n.unheld }

func (n *fakeNode) Backends(BackendOptions) (out []backend.Backend) {
	for _, b := range n.backends {
		out = append(out, b)
	}
	if n.holder != nil {
		out = append(out, holder{n.holder})
	}
	return out
}

// A holder is a place in memory that is asked before the node is looked at.
type holder struct{ *memBackend }

func (holder) Holds() {}

func (n *fakeNode) Begin(*host.Addressing, []hostport.Mapping) {}

func (n *fakeNode) Look(_ time.Duration, _ string, on *host.Addressing, _ []hostport.Mapping, f func(conflict.Snapshot) error) error {
	if n.looked != nil {
		n.looked()
	}
	if n.lookErr != nil {
		return n.lookErr
	}
	s := n.snap
	s.Local = on.Local
	return f(s)
}

func (n *fakeNode) DropUDP(_ hostport.Family, stale []host.Stale) error {
	n.dropped = append(n.dropped, stale...)
	n.drops++
	return nil
}

// A bench is a plugin on a fake node with a state directory.
type bench struct {
	*Plugin
	node         *fakeNode
	store        *state.Store
	out, errs    bytes.Buffer
	dir, dataDir string
	t            *testing.T
}

func newBench(t *testing.T) *bench {
	t.Helper()
	n := &fakeNode{boot: "boot", link: "veth1", flavour: "nft"}
	n.on.Local = []hostport.Local{{Prefix: netip.MustParsePrefix("192.0.2.1/32")}, {Prefix: netip.MustParsePrefix("127.0.0.0/8")}}
	n.facts.NFTables = func() (lacks, err error) { return nil, nil }
	n.facts.Iptables = func() (place.Iptables, error) {
		return place.Iptables{Default: func() (string, error) { return n.flavour, nil }}, nil
	}
	for _, name := range []string{"localnet", place.IptablesNFT, place.IptablesLegacy, place.NFTables} {
		n.backends = append(n.backends, &memBackend{now: memState{name, slices.Contains(place.Mappers(), name), map[hostport.Key]hostport.Attachment{}, nil}, log: &n.log})
	}
	b := &bench{node: n, dir: t.TempDir(), t: t}
	b.dataDir, n.proc = filepath.Join(b.dir, "state"), filepath.Join(b.dir, "proc")
	b.link("self/ns/pid", "pid:[4026531836]")
	b.link("self/ns/mnt", "mnt:[1]")
	b.link("1/ns/net", "net:[1]")
	if err := os.WriteFile(filepath.Join(n.proc, "self/status"), []byte("Name:\tx\nNSpid:\t7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Plugin, b.store = New(n, &b.out, &b.errs), state.Open(b.dataDir)
	return b
}

// conf is the configuration of a command on it.
func (b *bench) conf() *netconf.Config {
	return &netconf.Config{DataDir: b.dataDir, CacheDir: b.dir, LockTimeout: time.Second}
}

// mustRead makes a backend readable again.
func (b *bench) mustRead(name string) { b.in(name).unloaded = nil }

// in is the backend of that name.
func (b *bench) in(name string) *memBackend {
	for _, x := range b.node.backends {
		if x.now.name == name {
			return x
		}
	}
	b.t.Fatalf("no backend %s", name)
	return nil
}

// A pod is what the runtime says of one attachment. Its namespace is a file.
type pod struct {
	id    string
	netns state.Netns
	// ifName is that of another interface than eth0.
	ifName string
}

func (b *bench) pod(id string) pod {
	b.t.Helper()
	path := filepath.Join(b.dir, id)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		b.t.Fatal(err)
	}
	return pod{id: id, netns: state.Netns{Path: path, Dev: st.Dev, Inode: st.Ino}}
}

// link makes a link of the fake procfs, or replaces it.
func (b *bench) link(name, to string) {
	b.t.Helper()
	path := filepath.Join(b.node.proc, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.RemoveAll(path), os.Symlink(to, path)); err != nil {
		b.t.Fatal(err)
	}
}

// mountinfo says what is mounted.
func (b *bench) mountinfo(text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.node.proc, "self/mountinfo"), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) save(r state.Record) {
	b.t.Helper()
	if err := b.store.Save(r); err != nil {
		b.t.Fatal(err)
	}
}

// runs has a process in the pod's namespace.
func (b *bench) runs(p pod) { b.link("8/ns/net", fmt.Sprintf("net:[%d]", p.netns.Inode)) }

// blind hides the processes of the node, until it is called again.
func (b *bench) blind(on bool) {
	b.link("self/ns/pid", map[bool]string{true: "pid:[2]", false: "pid:[4026531836]"}[on])
}

// dies takes the pod's namespace away.
func (b *bench) dies(p pod) {
	b.t.Helper()
	if err := os.Remove(p.netns.Path); err != nil {
		b.t.Fatal(err)
	}
}

// owner is the pod's.
func (p pod) owner() hostport.Owner {
	return hostport.Owner{Network: "net", ContainerID: p.id, IfName: cmp.Or(p.ifName, "eth0")}
}

// on is another interface of the pod.
func (p pod) on(ifName string) pod {
	p.ifName = ifName
	return p
}

// tell tells args of the pod.
func (p pod) tell(args *skel.CmdArgs) *skel.CmdArgs {
	args.ContainerID, args.IfName, args.Args = p.id, p.owner().IfName, ""
	return args
}

func (p pod) key() hostport.Key { return p.owner().Key() }

// request is an ADD of the pod for one tcp port, with more configuration.
func (b *bench) request(p pod, port int, more string) *netconf.Request {
	b.t.Helper()
	conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":"portguard","dataDir":%q,"runtimeConfig":{"portMappings":[{"hostPort":%d,"containerPort":80}]},`+
		`"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":%q,"sandbox":"/x"}],"ips":[{"address":"192.0.2.9/24","interface":0}]}%s}`, b.dataDir, port, p.owner().IfName, more)
	args := p.tell(argsOf(conf))
	c, err := netconf.Parse([]byte(conf))
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := netconf.NewRequest(c, args)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// add is an ADD under the lock, which does not wait for others.
func (b *bench) add(p pod, port int, more string) error {
	b.t.Helper()
	req := b.request(p, port, more)
	return b.addLocked(req, b.store, p.netns, false)
}

func (b *bench) mustAdd(p pod, port int, more string) {
	b.t.Helper()
	if err := b.add(p, port, more); err != nil {
		b.t.Fatalf("ADD of %s: %v", p.id, err)
	}
}

var errBroken = errors.New("broken")

// A broken writer fails.
type broken struct{ error }

func (b broken) Write([]byte) (int, error) { return 0, b.error }
