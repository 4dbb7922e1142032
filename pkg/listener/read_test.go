// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
)

// proc makes a Proc directory of files below thread-self/net.
func proc(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, "thread-self", "net", name), text)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wanted(p hostport.Proto, ports ...uint16) []hostport.Mapping {
	var out []hostport.Mapping
	for _, port := range ports {
		out = append(out, hostport.Mapping{Family: hostport.IPv4, Proto: p, HostPort: port}, hostport.Mapping{Family: hostport.IPv6, Proto: p, HostPort: port})
	}
	return out
}

// native writes a little-endian dump as this machine would.
func native(text string) string {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return text
	}
	return swapped(text)
}

func TestReadAsksSockDiag(t *testing.T) {
	eleven := []uint16{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	for _, tt := range []struct {
		name  string
		files map[string]string
		ms    []hostport.Mapping
		want  []string
	}{
		{"nothing wanted is nothing asked", map[string]string{"if_inet6": ""}, nil, nil},
		{"each port is asked once a family", map[string]string{"if_inet6": ""}, wanted(hostport.TCP, 80, 81), []string{"10 tcp 80", "10 tcp 81", "2 tcp 80", "2 tcp 81"}},
		{"without IPv6 only IPv4 is asked", map[string]string{"tcp": ""}, wanted(hostport.UDP, 80), []string{"2 udp 80"}},
		{"8 ports are asked one by one", nil, wanted(hostport.TCP, eleven[:8]...), []string{
			"2 tcp 1", "2 tcp 2", "2 tcp 3", "2 tcp 4", "2 tcp 5", "2 tcp 6", "2 tcp 7", "2 tcp 8",
		}},
		{"more are asked at once", map[string]string{"if_inet6": ""}, wanted(hostport.TCP, eleven...), []string{"10 tcp 0", "2 tcp 0"}},
		{"absent SCTP is never asked", map[string]string{"if_inet6": ""}, wanted(hostport.SCTP, 80), nil},
		{"present SCTP is", map[string]string{"sctp/eps": sctpHeading}, wanted(hostport.SCTP, 80), []string{"2 sctp 80"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			r := &Reader{Proc: proc(t, tt.files), dump: func(f uint8, p hostport.Proto, port uint16) ([]hostport.Listener, error) {
				asked = append(asked, fmt.Sprintf("%d %s %d", f, p, port))
				return nil, nil
			}}
			if _, err := r.Read(tt.ms); err != nil {
				t.Fatal(err)
			}
			slices.Sort(asked)
			if diff := cmp.Diff(tt.want, asked); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A dump of all ports may hold more than was asked for.
func TestReadReturnsOnlyWantedPorts(t *testing.T) {
	r := &Reader{Proc: proc(t, nil), dump: func(uint8, hostport.Proto, uint16) ([]hostport.Listener, error) {
		return []hostport.Listener{sock(hostport.TCP, "0.0.0.0", 80, 0, 1), sock(hostport.TCP, "0.0.0.0", 22, 0, 2)}, nil
	}}
	got, err := r.Read(wanted(hostport.TCP, 80, 443))
	if err != nil || len(got) != 2 || got[0].Port != 80 || got[1].Port != 80 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestReadFallsBackToFiles(t *testing.T) {
	both := map[string]string{"tcp": native(tcp4), "tcp6": native(tcp6), "udp": native(udp4), "if_inet6": ""}
	for _, tt := range []struct {
		name  string
		files map[string]string
		ms    []hostport.Mapping
		errno error
		want  []hostport.Listener
		fails bool
	}{
		{"without a handler both files are read", both, wanted(hostport.TCP, 22, 80), unix.ENOENT, []hostport.Listener{sock(hostport.TCP, "0.0.0.0", 22, 0, 24010), sock(hostport.TCP, "::", 80, 0, 41111)}, false},
		{"without inet_diag they are", both, wanted(hostport.TCP, 80), unix.EINVAL, []hostport.Listener{sock(hostport.TCP, "::", 80, 0, 41111)}, false},
		{"without sock_diag they are", both, wanted(hostport.TCP, 80), unix.EPROTONOSUPPORT, []hostport.Listener{sock(hostport.TCP, "::", 80, 0, 41111)}, false},
		{"a missing IPv6 file is IPv6 switched off", both, wanted(hostport.UDP, 68), unix.ENOENT, []hostport.Listener{sock(hostport.UDP, "0.0.0.0", 68, 0, 19000)}, false},
		{"a missing IPv4 file is an error", map[string]string{"tcp6": native(tcp6)}, wanted(hostport.TCP, 80), unix.ENOENT, nil, true},
		{"a broken file is an error", map[string]string{"tcp": tcp4 + "x\n"}, wanted(hostport.TCP, 9), unix.ENOENT, nil, true},
		{"a broken IPv6 file is an error", map[string]string{"tcp": tcp4, "tcp6": tcp6 + "x\n"}, wanted(hostport.TCP, 9), unix.ENOENT, nil, true},
		{"any other error is one", both, wanted(hostport.TCP, 80), unix.EPERM, nil, true},
		{"an interrupted dump is an error", both, wanted(hostport.TCP, 80), errors.New("interrupted"), nil, true},
		{"sctp has one file", map[string]string{"sctp/eps": sctpHeading + " 0 0 2 10 29 80 0 5 0.0.0.0\n"}, wanted(hostport.SCTP, 80), unix.ENOENT, []hostport.Listener{sock(hostport.SCTP, "0.0.0.0", 80, 0, 5)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Reader{Proc: proc(t, tt.files), dump: func(uint8, hostport.Proto, uint16) ([]hostport.Listener, error) {
				return nil, fmt.Errorf("sock_diag: %w", tt.errno)
			}}
			got, err := r.Read(tt.ms)
			if (err != nil) != tt.fails {
				t.Fatalf("error is %v, want one: %v", err, tt.fails)
			}
			if diff := cmp.Diff(tt.want, got, compare(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestPodUID(t *testing.T) {
	const uid = "0b7dd1d8-8a30-4a5b-a5c6-2f8a4b3c1d0e"
	for _, tt := range []struct{ name, cgroup, want string }{
		{"the systemd form", "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/cri-containerd-0123.scope\n", uid},
		{"the systemd form of a guaranteed pod", "0::/kubepods.slice/kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/x\n", uid},
		{"the cgroupfs form", "11:memory:/kubepods/burstable/pod" + uid + "/0123456789\n10:cpu:/\n", uid},
		{"a static pod has no dashes", "0::/kubepods/burstable/pod5a1b9fd2ad7f3c7f4e6a0d9c8b7a6f5e/012\n", "5a1b9fd2ad7f3c7f4e6a0d9c8b7a6f5e"},
		{"a static pod under systemd", "0::/kubepods.slice/kubepods-pod5a1b9fd2ad7f3c7f4e6a0d9c8b7a6f5e.slice/x\n", "5a1b9fd2ad7f3c7f4e6a0d9c8b7a6f5e"},
		{"a service is no pod", "0::/system.slice/nginx.service\n", ""},
		{"podman's containers are no pods", "0::/machine.slice/libpod-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n", ""},
		{"nothing is no pod", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := podUID(tt.cgroup); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// process makes /proc/PID with descriptors for the sockets.
func process(t *testing.T, dir string, pid int, comm, cgroup string, inodes ...int) {
	t.Helper()
	at := filepath.Join(dir, fmt.Sprint(pid))
	write(t, filepath.Join(at, "comm"), comm+"\n")
	write(t, filepath.Join(at, "cgroup"), cgroup)
	write(t, filepath.Join(at, "stat"), fmt.Sprintf("%d (a) b) c) S 1 2 3\n", pid))
	for _, sub := range []string{"fd", "ns"} {
		if err := os.MkdirAll(filepath.Join(at, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, inode := range inodes {
		if err := os.Symlink(fmt.Sprintf("socket:[%d]", inode), filepath.Join(at, "fd", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHolders(t *testing.T) {
	const uid = "0b7dd1d8-8a30-4a5b-a5c6-2f8a4b3c1d0e"
	dir, logs := proc(t, nil), t.TempDir()
	for _, p := range []string{"kube-system_web-x7k2p_" + uid, "default_other_11111111-1111-1111-1111-111111111111"} {
		write(t, filepath.Join(logs, p, "c", "0.log"), "")
	}
	process(t, dir, 30, "worker", "", 100)
	process(t, dir, 9, "nginx", "0::/kubepods/pod"+uid+"/x\n", 7, 100)
	process(t, dir, 40, "sshd", "0::/system.slice/ssh.service\n", 200)
	process(t, dir, 50, "hidden", "0::/kubepods/pod22222222-2222-2222-2222-222222222222/x\n", 300)
	r := &Reader{Proc: dir, PodLogs: logs, Patience: time.Minute, dump: func(uint8, hostport.Proto, uint16) ([]hostport.Listener, error) {
		return []hostport.Listener{
			sock(hostport.TCP, "0.0.0.0", 80, 0, 100), sock(hostport.TCP, "192.0.2.1", 80, 0, 200),
			sock(hostport.TCP, "192.0.2.2", 80, 0, 300), sock(hostport.TCP, "192.0.2.3", 80, 5, 400), sock(hostport.TCP, "192.0.2.4", 80, 0, 0),
		}, nil
	}}
	ls, err := r.Read([]hostport.Mapping{{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 80}})
	if err != nil {
		t.Fatal(err)
	}
	var got []hostport.Process
	for _, l := range ls {
		got = append(got, l.Holder)
	}
	want := []hostport.Process{
		{PID: 9, Comm: "nginx", Pod: "pod kube-system/web-x7k2p"}, // the first of two that share it
		{PID: 40, Comm: "sshd"},
		{PID: 50, Comm: "hidden", Pod: "pod with UID 22222222-2222-2222-2222-222222222222"},
		{}, {},
	}
	if diff := cmp.Diff(want, got, compare()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A pod whose log directory is elsewhere has its name from its sandbox, which the nearest
// ancestor outside of the container works in; nobody inside is believed.
func TestSandbox(t *testing.T) {
	const uid = "22222222-2222-2222-2222-222222222222"
	spec := `{"annotations":{"io.kubernetes.cri.sandbox-name":%q,"io.kubernetes.cri.sandbox-namespace":"default"}}`
	for name, tt := range map[string]struct{ shim, want string }{
		"containerd":        {fmt.Sprintf(spec, "web"), "pod default/web"},
		"another runtime":   {`{"annotations":{"a":"b"}}`, "pod with UID " + uid},
		"no JSON":           {"{", "pod with UID " + uid},
		"nothing":           {"", "pod with UID " + uid},
		"more than is read": {fmt.Sprintf(spec, "web") + strings.Repeat(" ", 1<<20), "pod with UID " + uid},
	} {
		t.Run(name, func(t *testing.T) {
			dir := proc(t, nil)
			bundles := map[int]string{20: tt.shim, 30: fmt.Sprintf(spec, "forged"), 40: fmt.Sprintf(spec, "forged")}
			for pid, mnt := range map[int]string{20: "host", 30: "pod", 40: "pod"} {
				process(t, dir, pid, "x", "0::/kubepods/pod"+uid+"/x\n")
				write(t, filepath.Join(dir, fmt.Sprint(pid), "stat"), fmt.Sprintf("%d (x) S %d 1 1\n", pid, pid-10))
				link(t, mnt, filepath.Join(dir, fmt.Sprint(pid), "ns/mnt"))
				bundle := t.TempDir()
				if bundles[pid] != "" {
					write(t, filepath.Join(bundle, "config.json"), bundles[pid])
				}
				link(t, bundle, filepath.Join(dir, fmt.Sprint(pid), "cwd"))
			}
			process(t, dir, 10, "init", "")
			write(t, filepath.Join(dir, "10/stat"), "10 (x) S 0 1 1\n")
			write(t, filepath.Join(dir, "self/ns/x"), "")
			link(t, "host", filepath.Join(dir, "self/ns/mnt"))
			r := &Reader{Proc: dir, PodLogs: t.TempDir()}
			if got := r.pod(40); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

// The runtime is known by its name and by being our parent, or that one's child.
func TestOfCaller(t *testing.T) {
	for _, tt := range []struct {
		name, caller string
		parent       int
		want         bool
	}{
		{"nerdctl's child is the runtime", "nerdctl", os.Getppid(), true},
		{"podman's child is", "podman", os.Getppid(), true},
		{"another's child is not", "nerdctl", 1, false},
		{"a daemon's child is not", "containerd", os.Getppid(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := proc(t, nil)
			process(t, dir, os.Getppid(), tt.caller, "")
			const child = 4_000_001
			write(t, filepath.Join(dir, fmt.Sprint(child), "stat"), fmt.Sprintf("%d (x) y) S %d 1 1\n", child, tt.parent))
			r := &Reader{Proc: dir}
			if got := r.ofCaller(child); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got, want := r.ofCaller(os.Getppid()), tt.caller != "containerd"; got != want || r.single(os.Getppid()) != want {
				t.Errorf("the caller itself: got %v, want %v", got, want)
			}
		})
	}
}

// A process of a runtime says for which container it holds ports. It says so itself, so
// nobody but root, and who we are, is believed.
func TestIdentity(t *testing.T) {
	for _, tt := range []struct {
		name, comm string
		args       []string
		uid        uint32
		container  string
		target     string
	}{
		{"podman's conmon", "conmon", []string{"/usr/bin/conmon", "--api-version", "1", "-c", "abc", "-u", "abc", "-r", "/usr/bin/crun"}, 0, "abc", ""},
		{"the long option", "conmon", []string{"conmon", "--cid", "abc"}, 0, "abc", ""},
		{"in one word", "conmon", []string{"conmon", "--cid=abc"}, 0, "abc", ""},
		{"a value that looks like the option", "conmon", []string{"conmon", "-n", "c", "-c", "abc"}, 0, "abc", ""},
		{"conmon without the option", "conmon", []string{"conmon", "-u", "abc"}, 0, "", ""},
		{"an option at the end", "conmon", []string{"conmon", "-c"}, 0, "", ""},
		{"somebody's conmon", "conmon", []string{"conmon", "-c", "abc"}, 65534, "", ""},
		{"another program", "nginx", []string{"nginx", "-c", "abc"}, 0, "", ""},
		{"docker's proxy", "docker-proxy", strings.Fields("docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 80 -container-ip 10.88.0.9 -container-port 8080"), 0, "", "10.88.0.9:8080"},
		{"docker's proxy for IPv6", "docker-proxy", strings.Fields("docker-proxy -proto=tcp -container-ip=fd00::9 -container-port=8080"), 0, "", "[fd00::9]:8080"},
		{"docker's proxy without a port", "docker-proxy", strings.Fields("docker-proxy -container-ip 10.88.0.9"), 0, "", ""},
		{"nerdctl's reserver", "sleep", []string{"sleep", "infinity"}, 0, "default-abc", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, nerdctl := proc(t, nil), t.TempDir()
			process(t, dir, 30, tt.comm, "", 100)
			write(t, filepath.Join(dir, "30", "cmdline"), strings.Join(append(tt.args, ""), "\x00"))
			reserver := 31
			if tt.comm == "sleep" {
				reserver = 30
			}
			write(t, filepath.Join(nerdctl, "default", "abc", "port-reserver.pid"), fmt.Sprint(reserver))
			write(t, filepath.Join(nerdctl, "default", "other", "port-reserver.pid"), "3")
			odd := filepath.Join(nerdctl, "default", "odd") // nobody ever writes into that
			if err := errors.Join(os.Mkdir(odd, 0o755), unix.Mkfifo(filepath.Join(odd, "port-reserver.pid"), 0o600)); err != nil {
				t.Fatal(err)
			}
			l := sock(hostport.TCP, "0.0.0.0", 80, tt.uid, 100)
			r := &Reader{Proc: dir, Nerdctl: nerdctl, Patience: time.Minute}
			ls := []hostport.Listener{l}
			r.name(ls)
			want := hostport.Process{PID: 30, Comm: tt.comm, Container: tt.container}
			if tt.target != "" {
				want.Target = netip.MustParseAddrPort(tt.target)
			}
			if ls[0].Holder != want {
				t.Errorf("got %+v, want %+v", ls[0].Holder, want)
			}
		})
	}
}
