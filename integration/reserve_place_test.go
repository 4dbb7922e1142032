// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/backend/reservation/holds"
	"github.com/portguard/portguard/pkg/backend/reservation/program"
	"github.com/portguard/portguard/pkg/bpf"
)

// A site is a node whose processes run in a cgroup of its own.
type site struct {
	*lab.Node
	t      *testing.T
	cgroup *lab.Cgroup
}

func newSite(t *testing.T) site {
	n := newNode(t, "nftables", "nft")
	confDir(t, n, n.Network("net", "46", nil))
	return site{n, t, lab.NewCgroup(t)}
}

func (p site) call(verb string, pod *lab.Pod, conf string) (string, error) {
	p.t.Helper()
	out, _, err := p.Call(verb, pod, conf, p.cgroup.Within()...)
	return out, err
}

func (p site) must(verb string, pod *lab.Pod, conf string) {
	p.t.Helper()
	if out, err := p.call(verb, pod, conf); err != nil {
		p.t.Fatalf("%s: %v %s", verb, err, out)
	}
}

// run runs a command in the cgroup.
func (p site) run(args ...string) string {
	out, _ := p.Try("", append(p.cgroup.Within(), args...)...)
	return out
}

// portguard runs a command of it.
func (p site) portguard(args ...string) string {
	return p.run(slices.Concat([]string{filepath.Join(p.Bin, "portguard")}, args, []string{"--conf-dir", p.Dir + "/net.d"})...)
}

// refuses reports whether a process in the cgroup can bind 8080.
func (p site) refuses() bool {
	return strings.Contains(p.run("python3", "-c", `import socket; socket.socket().bind(("", 8080))`), "Address already in use")
}

// pass is a program that lets every bind pass: r0 = 1; exit.
func pass(t *testing.T, attach uint32) int {
	t.Helper()
	code := make([]byte, 16)
	code[0], code[8] = 0xb7, 0x95
	binary.NativeEndian.PutUint32(code[4:], 1)
	fd, err := bpf.Load("other", "GPL", attach, code)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// Where somebody lets nobody else attach programs, all is as without reservation, and said.
func TestReservationIsOff(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	const attach = unix.BPF_CGROUP_INET4_BIND
	attr := struct{ target, program, typ, flags uint32 }{uint32(p.cgroup.Root()), uint32(pass(t, attach)), attach, 0}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); errno != 0 {
		t.Fatal(errno)
	}
	pod := p.NewPod("web")
	conf := direct(p.Node, pod, mapping, "")
	p.must("ADD", pod, conf)
	p.must("CHECK", pod, conf)
	if p.refuses() || p.cgroup.Pins() != "" {
		t.Errorf("it is on: %s", p.cgroup.Pins())
	}
	const why = "allows no other"
	for _, command := range []string{"list", "doctor"} {
		if out := p.portguard(command); !strings.Contains(out, why) || !strings.Contains(out, "not refused") {
			t.Errorf("%s says\n%s", command, out)
		}
	}
	if out := p.portguard("restore"); out != "ok pod default/web\n" {
		t.Errorf("restore: %s", out)
	}
	const require = `,"reserve":"require"`
	other := p.NewPod("other")
	for verb, conf := range map[string]string{"ADD": direct(p.Node, other, `[{"hostPort":81,"containerPort":80}]`, require), "STATUS": statusConf(p.Node, require)} {
		before, wants := p.Rules(), map[string]string{"ADD": `"code": 111`, "STATUS": `"code": 50`}[verb]
		out, err := p.call(verb, other, conf)
		if err == nil || !strings.Contains(out, wants) || !strings.Contains(out, why) {
			t.Errorf("%s with \"require\": %v %s", verb, err, out)
		}
		unchanged(t, p.Node, before)
	}
	p.must("DEL", pod, conf)
}

// Programs of another version are replaced without a gap, links that lead nowhere are made anew,
// and what somebody has removed is put back.
func TestReservationIsRenewed(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	pod, other := p.NewPod("web"), p.NewPod("other")
	link(p.Node, pod)
	conf := direct(p.Node, pod, mapping, "")
	next := direct(p.Node, other, `[{"hostPort":81,"containerPort":80}]`, "")
	p.must("ADD", pod, conf)
	pins := p.cgroup.Pins()
	if !p.refuses() || pins == "" {
		t.Fatalf("it is off: %q", pins)
	}
	for name, harm := range map[string]func(){
		"other programs": func() { otherPrograms(t, pins, pass) },
		"no pins":        func() { must(t, os.RemoveAll(pins)) },
		"no links":       func() { must(t, os.Remove(pins+"/bind4"), os.Remove(pins+"/bind6")) },
		"no map":         func() { must(t, os.Remove(pins+"/ports")) },
		"another map": func() { // as of an ADD that is killed before it has put programs in place
			m, err := bpf.NewMap(bpf.Spec{Name: "another", Type: unix.BPF_MAP_TYPE_HASH, Key: holds.SlotLen, Value: holds.HoldLen, Max: 16, Flags: unix.BPF_F_NO_PREALLOC})
			must(t, err, os.Remove(pins+"/ports"))
			must(t, bpf.Pin(m.FD, pins+"/ports"))
			m.Close()
		},
	} {
		harm()
		if p.refuses() && !strings.HasSuffix(name, "map") {
			t.Errorf("%s: still refused", name)
		}
		if out, err := p.call("CHECK", pod, conf); err == nil {
			t.Errorf("CHECK with %s: %s", name, out)
		}
		p.must("ADD", other, next)
		if !p.refuses() {
			t.Errorf("%s: not refused after an ADD", name)
		}
		p.must("CHECK", pod, conf)
		p.must("DEL", other, next)
		if !p.refuses() {
			t.Errorf("%s: not refused after a DEL", name)
		}
	}
	p.must("DEL", pod, conf)
	if p.refuses() {
		t.Error("refused after DEL")
	}
}

// Once the pins are gone nobody knows who put a port into ip_local_reserved_ports.
func TestListedPortOutlivesThePins(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	pod := p.NewPod("web")
	link(p.Node, pod)
	conf := direct(p.Node, pod, `[{"hostPort":40000,"containerPort":80}]`, "")
	const reserved = "net/ipv4/ip_local_reserved_ports"
	for range 2 {
		p.must("ADD", pod, conf)
		want(t, "while it is held", p.ReadSysctl(reserved), "40000")
		must(t, os.RemoveAll(p.cgroup.Pins()))
		p.must("DEL", pod, conf)
		want(t, "after DEL without the pins", p.ReadSysctl(reserved), "40000")
	}
}

// otherPrograms puts programs in the place of portguard's.
func otherPrograms(t *testing.T, pins string, load func(t *testing.T, attach uint32) int) {
	t.Helper()
	for name, attach := range map[string]uint32{"bind4": unix.BPF_CGROUP_INET4_BIND, "bind6": unix.BPF_CGROUP_INET6_BIND} {
		fd, err := bpf.Open(filepath.Join(pins, name))
		if err == nil {
			err = bpf.Replace(fd, load(t, attach))
			unix.Close(fd)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A port is freed also while programs of another version cannot be replaced: they refuse it as
// long as it is in the map.
func TestFreedBesideOtherPrograms(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	pod, other := p.NewPod("web"), p.NewPod("other")
	link(p.Node, pod)
	p.must("ADD", pod, direct(p.Node, pod, mapping, ""))
	conf := direct(p.Node, other, `[{"hostPort":81,"containerPort":80}]`, "")
	p.must("ADD", other, conf)
	pins := p.cgroup.Pins()
	var maps [3]int
	for i, name := range []string{"ports", "spare", "refused"} {
		fd, err := bpf.Open(filepath.Join(pins, name))
		must(t, err)
		defer unix.Close(fd)
		maps[i] = fd
	}
	otherPrograms(t, pins, func(t *testing.T, attach uint32) int {
		code := program.New(false).Bind4
		if attach == unix.BPF_CGROUP_INET6_BIND {
			code = program.New(false).Bind6
		}
		fd, err := bpf.Load("portguardother", program.License, attach, program.Link(code, maps))
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	})
	must(t, os.Symlink("a trial that went wrong", pins+"-failed"))
	if !p.refuses() {
		t.Fatal("the other programs do not read the maps")
	}
	p.must("DEL", pod, direct(p.Node, pod, mapping, ""))
	if p.refuses() {
		t.Error("refused after DEL")
	}
}

// Of first ADDs at once, on nodes that see one hierarchy of cgroups, each holds its port, and one
// pair of programs is left.
func TestReservationBeginsOnce(t *testing.T) {
	t.Parallel()
	first := newSite(t)
	sites := []site{first}
	for range 3 {
		sites = append(sites, site{newNode(t, "nftables", "nft"), t, first.cgroup})
	}
	done := make(chan error, len(sites))
	for _, p := range sites {
		pod := p.NewPod("web")
		go func() {
			out, err := p.call("ADD", pod, direct(p.Node, pod, `[{"hostPort":8080,"containerPort":80}]`, ""))
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			done <- err
		}()
	}
	for range sites {
		must(t, <-done)
	}
	for _, attach := range []uint32{unix.BPF_CGROUP_INET4_BIND, unix.BPF_CGROUP_INET6_BIND} {
		if ids, _, err := bpf.Query(first.cgroup.Root(), attach); err != nil || len(ids) != 1 {
			t.Errorf("programs: %v, %v", ids, err)
		}
	}
	for _, p := range sites {
		if !p.refuses() {
			t.Errorf("%s: not refused", p.Name)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The maps have room for so many ports. Who comes when they are full goes without, and is held when
// there is room again.
func TestReservationIsFull(t *testing.T) {
	t.Parallel()
	p := newSite(t)
	ports := func(from, n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"hostPort":%d,"containerPort":80}`, from+i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	big, other := p.NewPod("big"), p.NewPod("other")
	first, second := ports(20000, 16000), ports(8080, 600)
	p.must("ADD", big, direct(p.Node, big, first, ""))
	out, err := p.call("ADD", other, direct(p.Node, other, second, `,"reserve":"require"`))
	if err == nil || !strings.Contains(out, "maps of the programs are full: at most 16384 ports") {
		t.Errorf("ADD with \"require\": %v %s", err, out)
	}
	p.must("ADD", other, direct(p.Node, other, second, ""))
	if p.refuses() {
		t.Error("8080 is held beside full maps")
	}
	if out := p.portguard("list"); !strings.Contains(out, "hostPort 8080/tcp is not held") {
		t.Errorf("list does not say that ports of the other pod are not held:\n%.2000s", out)
	}
	p.must("CHECK", big, direct(p.Node, big, first, ""))
	p.must("DEL", big, direct(p.Node, big, first, ""))
	if out := p.portguard("restore"); !p.refuses() {
		t.Errorf("8080 is not held though there is room: %s\n%.600s", out, p.portguard("list"))
	}
	p.must("DEL", other, direct(p.Node, other, second, ""))
}
