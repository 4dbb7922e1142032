// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/place"
)

func code(err error) uint {
	var e *types.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code
}

// has tells which backends have something of a pod.
func (b *bench) has(p pod) (out []string) {
	for _, x := range b.node.backends {
		if _, ok := x.now.has[p.key()]; ok {
			out = append(out, x.now.name)
		}
	}
	return out
}

func (b *bench) wantIn(p pod, names ...string) {
	b.t.Helper()
	if diff := cmp.Diff(names, b.has(p)); diff != "" {
		b.t.Errorf("%s is elsewhere (-want +got)\n%s", p.id, diff)
	}
}

func (b *bench) args(p pod, more string) *skel.CmdArgs {
	a := p.tell(argsOf(fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"portguard","dataDir":%q%s}`, b.dataDir, more)))
	a.Netns = p.netns.Path
	return a
}

// A pod that asks for ports at addresses of a family that it has not is told so, though nothing
// is mapped, and one without ports is told nothing.
func TestNothingIsMapped(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	ports := func(list string) string {
		return fmt.Sprintf(`,"prevResult":{"cniVersion":"1.1.0","ips":[{"address":"192.0.2.9/24"}]},"runtimeConfig":{"portMappings":[%s]}`, list)
	}
	if err := b.Add(b.args(web, ports(""))); err != nil || b.errs.Len() > 0 {
		t.Errorf("without ports: %v, said %q", err, &b.errs)
	}
	err := b.Add(b.args(web, ports(`{"hostPort":80,"containerPort":80,"hostIP":"::"}`)))
	if err != nil || !strings.Contains(b.errs.String(), "hostIP :: maps nothing: the pod has no IPv6 address") {
		t.Errorf("with a port: %v, said %q", err, &b.errs)
	}
	if b.has(web) != nil || b.store.Used() {
		t.Error("it has something")
	}
}

func TestAddThenDel(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	b.mustAdd(web, 80, "")
	b.wantIn(web, "localnet", place.NFTables)
	if !b.store.Has(web.key()) {
		t.Error("no record")
	}
	if err := b.Del(b.args(web, "")); err != nil {
		t.Fatal(err)
	}
	b.wantIn(web)
	if b.store.Has(web.key()) {
		t.Error("the record stays")
	}
	if err := b.Del(b.args(web, "")); err != nil {
		t.Errorf("a second DEL: %v", err)
	}
}

// A live owner keeps its port, a dead one loses it in the same change.
func TestOneOwnerForEachPort(t *testing.T) {
	b := newBench(t)
	first, second := b.pod("first"), b.pod("second")
	b.mustAdd(first, 80, "")
	err := b.add(second, 80, "")
	if code(err) != 101 || !strings.Contains(err.Error(), "container first") {
		t.Errorf("ADD beside a live owner: %v", err)
	}
	b.wantIn(second)
	if b.store.Has(second.key()) {
		t.Error("a refused ADD leaves a record")
	}
	b.dies(first)
	b.mustAdd(second, 80, "")
	b.wantIn(first)
	b.wantIn(second, "localnet", place.NFTables)
	if b.store.Has(first.key()) {
		t.Error("the record of the dead stays")
	}
}

// No pod gets a protected port, whatever the policy says and whoever is dead. Who has it
// from before the key keeps it.
func TestProtectedPorts(t *testing.T) {
	b := newBench(t)
	const key = `,"conflictPolicy":"warn","protectedPorts":["79-81/tcp"]`
	web, later := b.pod("web"), b.pod("later")
	if err := b.add(later, 80, key); code(err) != 112 || !strings.Contains(err.Error(), "protectedPorts (79-81/tcp) of network net") {
		t.Errorf("ADD: %v", err)
	}
	if b.wantIn(later); b.store.Has(later.key()) || b.store.Used() {
		t.Error("a refused ADD leaves something behind")
	}
	b.mustAdd(web, 80, "")
	b.mustAdd(later, 82, key)
	with := func(p pod) *skel.CmdArgs {
		return b.args(p, key+`,"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":80}]}`+confPrev)
	}
	if err := b.Check(with(web)); err != nil {
		t.Errorf("CHECK of one that has it from before: %v", err)
	}
	if err := b.add(web, 80, key); code(err) != 112 {
		t.Errorf("a second ADD: %v", err)
	}
	b.wantIn(web, "localnet", place.NFTables)
	if err := b.Del(with(web)); err != nil {
		t.Errorf("DEL: %v", err)
	}
	b.wantIn(web)
	if c := b.store.Counters("boot"); c.Refusals["protected"] != 2 || c.Conflicts["protected"] != 2 {
		t.Errorf("counted: %+v", c)
	}
}

// What fails leaves everything as it was, whichever backend fails.
func TestAddIsUndone(t *testing.T) {
	for _, failing := range []string{"localnet", place.NFTables} {
		t.Run(failing, func(t *testing.T) {
			b := newBench(t)
			other, web := b.pod("other"), b.pod("web")
			b.mustAdd(other, 1, "")
			b.in(failing).fail = errBroken
			if err := b.add(web, 80, ""); code(err) != CodeApply || !strings.Contains(err.Error(), "broken") {
				t.Errorf("ADD: %v", err)
			}
			b.wantIn(web)
			b.wantIn(other, "localnet", place.NFTables)
			if b.store.Has(web.key()) {
				t.Error("a failed ADD leaves a record")
			}
		})
	}
}

// A result that the runtime does not take is undone: of a first ADD, of another one, of a
// take-over. The words of conditions come back from the record.
func TestUndeliveredIsUndone(t *testing.T) {
	const only = `,"conditionsV4":["ip","saddr","192.0.2.9"]`
	for _, before := range []string{"", "the same", "a dead one"} {
		t.Run(before, func(t *testing.T) {
			b := newBench(t)
			b.node.facts.NFTProgram = func() bool { return true }
			old, web := b.pod("old"), b.pod("web")
			if before == "the same" {
				old = web
			}
			if before != "" {
				b.mustAdd(old, 80, only)
			}
			if before == "a dead one" {
				b.dies(old)
			}
			was, _ := b.store.Load(old.key())
			held := fmt.Sprint(b.in(place.NFTables).now, b.in("localnet").now)
			b.out.Reset()
			b.Stdout = broken{unix.ENOSPC}
			err := b.add(web, 80, `,"masqAll":true`)
			if code(err) != types.ErrIOFailure || !strings.Contains(err.Error(), "nothing is changed") || !strings.Contains(b.errs.String(), "no space left") {
				t.Errorf("ADD: %v, said %s", err, &b.errs)
			}
			if now := fmt.Sprint(b.in(place.NFTables).now, b.in("localnet").now); now != held {
				t.Errorf("was %s\nnow %s", held, now)
			}
			is, _ := b.store.Load(old.key())
			if diff := cmp.Diff(was, is, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("record (-was +is)\n%s", diff)
			}
			if n := len(b.store.Keys()); before == "" && n != 0 || before != "" && n != 1 {
				t.Errorf("%d records", n)
			}
			b.Stdout = &b.out
			b.mustAdd(web, 80, "")
			if !strings.Contains(b.out.String(), "192.0.2.9/24") {
				t.Errorf("result %q", &b.out)
			}
		})
	}
}

// What failed because others changed the rules meanwhile is done again, from what is there
// then. What goes on failing is an error.
func TestRacesAreRunAgain(t *testing.T) {
	b := newBench(t)
	web, other := b.pod("web"), b.pod("other")
	b.mustAdd(other, 81, "")
	mine := b.in(place.NFTables)
	mine.fail = fmt.Errorf("element of set ports4: %w", unix.ENOENT)
	mine.failed = func() { delete(mine.now.has, other.key()) }
	b.mustAdd(web, 80, `,"excludeCIDRs":["192.0.2.0/30"]`)
	b.wantIn(web, "localnet", place.NFTables)
	b.wantIn(other, "localnet", place.NFTables)
	if n := len(mine.now.has[web.key()].Excludes); n != 1 {
		t.Errorf("%d excludes", n)
	}
	mine.fail = fmt.Errorf("restore: %w", iptables.ErrGone)
	mine.failed = func() { delete(mine.now.has, web.key()) }
	if err := b.Del(b.args(web, "")); err != nil {
		t.Errorf("DEL: %v", err)
	}
	b.wantIn(web)
	n := 0
	mine.undone = func() error { n++; return unix.EEXIST }
	if err := b.add(web, 80, ""); code(err) != CodeApply || n < 2 || b.store.Has(web.key()) {
		t.Errorf("ADD: %v after %d tries", err, n)
	}
}

// DEL succeeds where it knows that nothing of the attachment is where nobody can read: where
// its record names another place, and without a record where all have one. GC removes what
// it can.
func TestDelBesideTheUnreadable(t *testing.T) {
	b := newBench(t)
	here, there, none, unsure := b.pod("here"), b.pod("there"), b.pod("none"), b.pod("unsure")
	b.mustAdd(here, 80, "")
	b.mustAdd(there, 81, `,"backend":"iptables"`)
	b.mustAdd(unsure, 82, "")
	b.in(place.IptablesNFT).unloaded = errBroken
	if err := b.Del(b.args(there, "")); code(err) != CodeApply || !strings.Contains(err.Error(), "broken") {
		t.Errorf("DEL of what cannot be read: %v", err)
	}
	b.wantIn(there, "localnet", place.IptablesNFT)
	for _, p := range []pod{here, none} {
		b.errs.Reset()
		if err := b.Del(b.args(p, mapped)); err != nil || !strings.Contains(b.errs.String(), "broken") {
			t.Errorf("DEL of %s: %v, said %s", p.id, err, &b.errs)
		}
		b.wantIn(p)
	}
	if err := os.WriteFile(filepath.Join(b.dataDir, unsure.key()+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Del(b.args(unsure, "")); err == nil {
		t.Error("DEL with a damaged record succeeds although its rules may be where nobody can read")
	}
	b.mustRead(place.IptablesNFT)
	b.mustAdd(here, 80, "")
	b.in(place.IptablesNFT).unloaded = errBroken
	if err := b.GC(b.args(none, `,"cni.dev/valid-attachments":[]`)); code(err) != CodeApply {
		t.Errorf("GC: %v", err)
	}
	b.wantIn(here)
	b.wantIn(there, "localnet", place.IptablesNFT)
	b.mustRead(place.IptablesNFT)
	for _, p := range []pod{there, unsure} {
		if err := b.Del(b.args(p, "")); err != nil {
			t.Errorf("DEL of %s: %v", p.id, err)
		}
		b.wantIn(p)
	}
	if err := os.RemoveAll(b.dataDir); err != nil { // nobody knows what was there
		t.Fatal(err)
	}
	b.in(place.IptablesNFT).unloaded = errBroken
	if err := b.Del(b.args(none, mapped)); err == nil {
		t.Error("DEL succeeds although the records were wiped")
	}
}

// When undoing fails too, the record stays and leads DEL to the rest.
func TestAddThatCannotBeUndone(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	b.in(place.NFTables).fail = fmt.Errorf("%w: broken", backend.ErrNotUndone)
	if err := b.add(web, 80, ""); err == nil || !strings.Contains(err.Error(), "delete the pod") {
		t.Errorf("ADD: %v", err)
	}
	if !b.store.Has(web.key()) {
		t.Fatal("nothing leads DEL to what is left")
	}
	if err := b.Del(b.args(web, "")); err != nil {
		t.Fatal(err)
	}
	b.wantIn(web)
}

// A failed ADD of a container that is added again leaves what its first one made.
func TestAddAgainIsUndone(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	b.mustAdd(web, 80, "")
	before, _ := b.store.Load(web.key())
	b.in(place.NFTables).fail = errBroken
	if err := b.add(web, 81, ""); err == nil {
		t.Fatal("ADD works")
	}
	after, err := b.store.Load(web.key())
	if err != nil || !slices.Equal(after.Attachment.Mappings, before.Attachment.Mappings) {
		t.Errorf("the record is %+v, %v", after, err)
	}
	if have := b.in(place.NFTables).now.has[web.key()]; have.Mappings[0].HostPort != 80 {
		t.Errorf("the mapping is %v", have.Mappings)
	}
}

// A kernel that turns out to lack nf_tables is no failure of the ADD, and counts once.
func TestFallBackToIptables(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	b.in(place.NFTables).fail = fmt.Errorf("%w: no module", backend.ErrUnavailable)
	b.mustAdd(web, 80, "")
	b.wantIn(web, "localnet", place.IptablesNFT)
	if !strings.Contains(b.errs.String(), "iptables is used instead") {
		t.Errorf("no warning: %q", b.errs.String())
	}
	if c := b.store.Counters("boot"); len(c.Refusals) > 0 {
		t.Errorf("an ADD that worked counts as refused: %v", c.Refusals)
	}
	b = newBench(t)
	b.in(place.NFTables).fail = fmt.Errorf("%w: no module", backend.ErrUnavailable)
	if err := b.add(b.pod("web"), 80, `,"backend":"nftables"`); code(err) != CodeApply {
		t.Errorf("with a backend that was asked for: %v", err)
	}
	if c := b.store.Counters("boot"); c.Refusals["apply"] != 1 {
		t.Errorf("counted %v", c.Refusals)
	}
}

// Where an attachment belongs depends on the node, and it follows: from nftables when
// kube-proxy turns out to be in ipvs mode, and back.
func TestAttachmentsFollowTheNode(t *testing.T) {
	b := newBench(t)
	auto, named, dead, last := b.pod("auto"), b.pod("named"), b.pod("dead"), b.pod("last")
	b.mustAdd(auto, 80, "")
	b.mustAdd(named, 81, `,"backend":"nftables"`)
	b.mustAdd(dead, 82, "")
	b.dies(dead)
	b.node.facts.IPVS = true
	b.mustAdd(last, 83, "")
	b.wantIn(auto, "localnet", place.IptablesNFT)
	b.wantIn(last, "localnet", place.IptablesNFT)
	b.wantIn(named, "localnet", place.NFTables)
	b.wantIn(dead, "localnet", place.NFTables)
	if !strings.Contains(b.errs.String(), "stay in nftables") {
		t.Errorf("nobody is told of those that stay: %q", b.errs.String())
	}
	if rec, err := b.store.Load(auto.key()); err != nil || rec.Backend != place.IptablesNFT {
		t.Errorf("record: %+v, %v", rec, err)
	}
	b.node.facts.IPVS = false
	if _, err := b.Restore(b.conf()); err != nil {
		t.Fatal(err)
	}
	b.wantIn(auto, "localnet", place.NFTables)
	b.wantIn(last, "localnet", place.NFTables)
}

// Restore puts back what lives and is missing, and refuses what somebody else has.
func TestRestore(t *testing.T) {
	b := newBench(t)
	fine, lost, taken, dead := b.pod("fine"), b.pod("lost"), b.pod("taken"), b.pod("dead")
	for i, p := range []pod{fine, lost, taken, dead} {
		b.mustAdd(p, 80+i, "")
	}
	b.dies(dead)
	nft := b.in(place.NFTables)
	for _, p := range []pod{lost, taken, dead} {
		delete(nft.now.has, p.key())
	}
	squatter := hostport.Attachment{Owner: hostport.Owner{Network: "x", ContainerID: "squatter", IfName: "eth0"}, Mappings: []hostport.Mapping{{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 82}}}
	nft.now.has[squatter.Owner.Key()] = squatter
	done, err := b.Restore(b.conf())
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, r := range done {
		s, _, _ := strings.Cut(r.String(), ":")
		said = append(said, s)
	}
	want := []string{"ok container fine (network net, eth0)", "restored container lost (network net, eth0)", "refused container taken (network net, eth0)"}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	b.wantIn(lost, "localnet", place.NFTables)
	b.wantIn(taken, "localnet")
}

func TestCheck(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	b.mustAdd(web, 80, "")
	s, err := b.Begin(b.store, 1e9, hostport.Attachment{})
	if err == nil {
		err = s.Load(BackendOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	says := func(when string, port int, what, remedy string) {
		t.Helper()
		faults, err := s.check(b.request(web, port, ""))
		if err != nil || len(faults) != 1 || !strings.HasPrefix(faults[0].what, what) || faults[0].remedy != remedy {
			t.Errorf("%s: %q, %v", when, faults, err)
		}
	}
	if faults, err := s.check(b.request(web, 80, "")); err != nil || len(faults) > 0 {
		t.Errorf("%q, %v", faults, err)
	}
	says("with other ports", 81, "the configuration asks for other ports", renewable)
	delete(b.in(place.NFTables).now.has, web.key())
	says("without its rules", 80, "nftables lacks", restorable)
	if err := b.store.Delete(web.key()); err != nil {
		t.Fatal(err)
	}
	delete(s.records, web.key())
	says("without a record and rules", 80, "nftables lacks", renewable)
}

// GC removes what the runtime does not know, of this network only.
func TestGC(t *testing.T) {
	b := newBench(t)
	stays, goes, lost := b.pod("stays"), b.pod("goes"), b.pod("lost")
	for i, p := range []pod{stays, goes, lost} {
		b.mustAdd(p, 80+i, "")
	}
	if err := b.store.Delete(lost.key()); err != nil { // known by its rules
		t.Fatal(err)
	}
	other := hostport.Attachment{Owner: hostport.Owner{Network: "other", ContainerID: "x", IfName: "eth0"}, Mappings: []hostport.Mapping{{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 90}}}
	b.in(place.NFTables).now.has[other.Owner.Key()] = other
	if err := b.GC(b.args(stays, `,"cni.dev/valid-attachments":[{"containerID":"stays","ifname":"eth0"}]`)); err != nil {
		t.Fatal(err)
	}
	b.wantIn(stays, "localnet", place.NFTables)
	b.wantIn(goes)
	b.wantIn(lost)
	if _, ok := b.in(place.NFTables).now.has[other.Owner.Key()]; !ok {
		t.Error("another network's attachment is gone")
	}
}

// Sweep removes the dead, and only lists them when it is asked to.
func TestSweep(t *testing.T) {
	b := newBench(t)
	live, dead, unknown := b.pod("live"), b.pod("dead"), b.pod("unknown")
	for i, p := range []pod{live, dead, unknown} {
		b.mustAdd(p, 80+i, "")
	}
	b.dies(dead)
	b.dies(unknown)
	b.runs(unknown)
	if err := b.store.Delete(unknown.key()); err != nil { // its namespace is in its comment
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		done, err := b.Sweep(b.dataDir, b.dir, 1e9, dry)
		if err != nil || len(done) != 1 || done[0].Owner.ContainerID != "dead" || len(done[0].Mappings) != 1 {
			t.Errorf("dry %v: %+v, %v", dry, done, err)
		}
	}
	b.wantIn(live, "localnet", place.NFTables)
	b.wantIn(dead)
	b.wantIn(unknown, "localnet", place.NFTables)
	if err := os.RemoveAll(filepath.Join(b.node.proc, "8")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sweep(b.dataDir, b.dir, 1e9, false); err != nil {
		t.Fatal(err)
	}
	b.wantIn(unknown)
}

// With the policy "warn" a live owner keeps what it has.
func TestWarnPolicy(t *testing.T) {
	b := newBench(t)
	first, second := b.pod("first"), b.pod("second")
	b.mustAdd(first, 80, "")
	b.mustAdd(second, 80, `,"conflictPolicy":"warn"`)
	if have := b.in(place.NFTables).now.has[second.key()]; len(have.Mappings) > 0 {
		t.Errorf("the newcomer has %v", have.Mappings)
	}
	if rec, err := b.store.Load(second.key()); err != nil || len(rec.Left) != 1 {
		t.Errorf("record: %+v, %v", rec, err)
	}
	if !strings.Contains(b.errs.String(), "is taken") {
		t.Errorf("no warning: %q", b.errs.String())
	}
}

// What cannot be read is not free, and DEL says that it could not remove anything.
func TestUnreadable(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	b.node.lookErr = errBroken
	if err := b.add(web, 80, ""); code(err) != CodeUnreadable {
		t.Errorf("ADD: %v", err)
	}
	b.node.lookErr = nil
	b.mustAdd(web, 80, "")
	b.in(place.NFTables).unloaded = errBroken
	if err := b.add(b.pod("other"), 81, ""); code(err) != CodeUnreadable {
		t.Errorf("ADD: %v", err)
	}
	if err := b.Del(b.args(web, "")); code(err) != CodeApply {
		t.Errorf("DEL: %v", err)
	}
}

func TestUDPFlowsAreDropped(t *testing.T) {
	b := newBench(t)
	web := b.pod("web")
	req := b.request(web, 53, "")
	req.Attachment.Mappings[0].Proto = hostport.UDP
	if err := b.addLocked(req, b.store, web.netns, false); err != nil {
		t.Fatal(err)
	}
	if err := b.Del(b.args(web, "")); err != nil {
		t.Fatal(err)
	}
	if len(b.node.dropped) != 2 || b.node.dropped[0].Gone || !b.node.dropped[1].Gone {
		t.Errorf("dropped %+v", b.node.dropped)
	}
}

func TestStatus(t *testing.T) {
	b := newBench(t)
	// What breaks ADDs of pods with hostPorts only.
	b.node.facts.NFTables = func() (lacks, err error) { return nil, errBroken }
	if err := b.Status(argsOf(`{"cniVersion":"1.1.0","name":"net","dataDir":"/proc/1/no"}`)); err != nil {
		t.Error(err)
	}
	if err := b.Status(argsOf(`{"cniVersion":"1.1.0","name":"net","snat":1}`)); code(err) != types.ErrInvalidNetworkConfig {
		t.Errorf("a wrong configuration: %v", err)
	}
	b.node.forbidden = unix.EPERM
	if err := b.Status(b.args(pod{}, "")); code(err) != types.ErrPluginNotAvailable {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(b.dataDir); err == nil || len(b.node.log) > 0 {
		t.Errorf("it made dataDir, or asked backends: %v", b.node.log)
	}
}

// What ADD would change is tried, where it would be, and not what cannot be read.
func TestTry(t *testing.T) {
	b := newBench(t)
	b.in(place.NFTables).fail = errBroken
	s, err := b.Begin(b.store, time.Second, hostport.Attachment{})
	if err != nil {
		t.Fatal(err)
	}
	if unread := s.LoadSome(BackendOptions{}); unread != nil {
		t.Fatal(unread)
	}
	if err := s.Try(hostport.Attachment{}, place.NFTables); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	b.in("localnet").unloaded = errBroken
	s.LoadSome(BackendOptions{})
	if err := s.Try(hostport.Attachment{}, place.IptablesNFT); err != nil {
		t.Error(err)
	}
	b.in(place.IptablesNFT).fail = unix.EROFS
	if err := s.Try(hostport.Attachment{}, place.IptablesNFT); err == nil || !strings.Contains(err.Error(), `set "localhost": false`) {
		t.Errorf("it does not say what to do: %v", err)
	}
	want := []string{"try localnet", "try " + place.NFTables, "try " + place.IptablesNFT, "try " + place.IptablesNFT}
	if !slices.Equal(b.node.log, want) {
		t.Errorf("tried %v, want %v", b.node.log, want)
	}
	for _, x := range b.node.backends {
		if len(x.now.has) > 0 {
			t.Errorf("%s has %v", x.now.name, x.now.has)
		}
	}
}

func same(a, b hostport.Mapping) bool { return a == b }
