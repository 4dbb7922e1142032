// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/need"
)

// asked is set in the environment of a process of this test that answers from a
// namespace of its own: whether the record in it lives.
const asked = "PORTGUARD_TEST_RECORD"

// A machine makes namespaces and asks from them.
type machine struct {
	t   *testing.T
	dir string
}

// buried is the namespace of a pod that is gone, with a number that none has: the kernel gives
// that of one to the next, which may be another test's, and who cannot enter that cannot tell.
func (m machine) buried() Netns {
	n := m.pod()
	m.run("umount", n.Path)
	n.Inode = 1
	return n
}

// pod makes a network namespace at a path, and looks at it as its ADD does.
func (m machine) pod() Netns {
	m.t.Helper()
	name := strings.ToLower(filepath.Base(m.dir)) + fmt.Sprint(os.Getpid())
	path := "/run/netns/" + name
	m.run("ip", "netns", "add", name)
	m.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	return m.identify(path)
}

func (m machine) identify(path string) Netns {
	m.t.Helper()
	n, err := See("/proc").Identify(path)
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

func (m machine) run(args ...string) {
	m.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		m.t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// start runs a command until the test ends, or until stop; it is ready when it prints a
// line.
func (m machine) start(args ...string) (pid int, line string, stop func()) {
	m.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}
	m.t.Cleanup(stop)
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		m.t.Fatalf("%q: %v", args, err)
	}
	return cmd.Process.Pid, strings.TrimSpace(line), stop
}

// inPod keeps a process in the namespace.
func (m machine) inPod(n Netns) (pid int, stop func()) {
	pid, _, stop = m.start("nsenter", "--net="+n.Path, "sh", "-c", "echo; exec sleep 60")
	return pid, stop
}

// runtime makes a pod in a mount namespace of its own, as a container runtime with
// PrivateMounts does, until stop.
func (m machine) runtime(more ...string) (n Netns, stop func()) {
	m.t.Helper()
	b, err := json.Marshal(answer{Netns: Netns{Path: "/run/netns/private"}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Setenv(asked, string(b))
	defer func() { _ = os.Unsetenv(asked) }()
	script := "mount --make-rprivate /; mount -t tmpfs none /run; mkdir /run/netns; touch /run/netns/private\n" +
		"unshare -n mount --bind /proc/self/ns/net /run/netns/private\n" + os.Args[0] + " -test.run='^TestAnswer$'; exec sleep 60"
	_, line, stop := m.start(append(append([]string{"unshare", "-m"}, more...), "sh", "-c", script)...)
	var a answer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		m.t.Fatalf("%q: %v", line, err)
	}
	return a.Netns, stop
}

// ask has a shell in namespaces of its own call this test again, which says whether n
// lives.
func (m machine) ask(n Netns, script string, args ...string) (hostport.Life, string) {
	m.t.Helper()
	b, err := json.Marshal(answer{Netns: n, Known: true})
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(args[0], append(args[1:], "sh", "-c", script+"\nexec "+os.Args[0]+" -test.run='^TestAnswer$'")...)
	cmd.Env = append(os.Environ(), asked+"="+string(b))
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%q: %v\n%s", args, err, out)
	}
	var a answer
	if line, _, _ := strings.Cut(string(out), "\n"); json.Unmarshal([]byte(line), &a) != nil {
		m.t.Fatalf("%q says %s", args, out)
	}
	return a.Life, a.Why
}

// An answer is a question as long as only Netns and Known are set; a namespace that is not
// known is that of an ADD, by its path.
type answer struct {
	Netns Netns
	Known bool
	Life  hostport.Life
	Why   string
}

// TestAnswer is run by ask: it looks from where it is.
func TestAnswer(t *testing.T) {
	var a answer
	if json.Unmarshal([]byte(os.Getenv(asked)), &a) != nil {
		return
	}
	s := See("/proc")
	if !a.Known {
		var err error
		if a.Netns, err = s.Identify(a.Netns.Path); err != nil {
			t.Fatal(err)
		}
	}
	a.Life, a.Why = s.Life(a.Netns)
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		t.Fatal(err)
	}
}

// Who is alive, seen from everywhere.
func TestLife(t *testing.T) {
	need.Root(t)
	const alone = "mount --make-rprivate /; umount -l "
	here := []string{"env"}
	mounts := []string{"unshare", "-m"}
	both := []string{"unshare", "-m", "-p", "-f", "--mount-proc"}
	unprivileged := []string{"unshare", "-m", "setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"}
	byPath := hostport.Dead
	if See("/proc").View().PID != initPID { // in a container
		byPath = hostport.Unknown
	}
	for _, tt := range []struct {
		name   string
		make   func(m machine) Netns
		script func(n Netns) string
		from   []string
		want   hostport.Life
	}{
		{"its path", func(m machine) Netns { return m.pod() }, nil, here, hostport.Alive},
		{"its path, from a PID namespace of its own", func(m machine) Netns { return m.pod() }, nil, both, hostport.Alive},
		{"nothing is left", func(m machine) Netns {
			n := m.pod()
			m.run("umount", n.Path)
			return n
		}, nil, here, hostport.Dead},
		{"a process is left", func(m machine) Netns {
			n := m.pod()
			m.inPod(n)
			m.run("umount", n.Path)
			return n
		}, nil, here, hostport.Alive},
		{"another process than the one of its path", func(m machine) Netns {
			n := m.pod()
			pid, stop := m.inPod(n)
			byPID := m.identify(fmt.Sprintf("/proc/%d/ns/net", pid))
			m.inPod(n)
			m.run("umount", n.Path)
			stop()
			return byPID
		}, nil, here, hostport.Alive},
		{"the process of its path was the last one", func(m machine) Netns {
			n := m.pod()
			pid, stop := m.inPod(n)
			byPID := m.identify(fmt.Sprintf("/proc/%d/ns/net", pid))
			m.run("umount", n.Path)
			stop()
			return byPID
		}, nil, here, hostport.Dead},
		{"unmounted here, and a process lives", func(m machine) Netns {
			n := m.pod()
			m.inPod(n)
			return n
		}, func(n Netns) string { return alone + n.Path }, mounts, hostport.Alive},
		{"unmounted here, and mounted where its ADD was", func(m machine) Netns { return m.pod() },
			func(n Netns) string { return alone + n.Path }, mounts, hostport.Alive},
		{"unmounted here, and no process can be seen", func(m machine) Netns {
			n := m.pod()
			m.inPod(n)
			return n
		}, func(n Netns) string { return alone + n.Path }, both, hostport.Unknown},
		{"the same, of a record without a view", func(m machine) Netns {
			n := m.pod()
			m.inPod(n)
			n.View = View{}
			return n
		}, func(n Netns) string { return alone + n.Path }, both, hostport.Unknown},
		{"the dead, and no process can be seen", machine.buried, nil, both, hostport.Unknown},
		{"by its inode only", func(m machine) Netns {
			return Netns{Inode: m.pod().Inode}
		}, nil, here, hostport.Alive},
		{"by its path only", func(m machine) Netns {
			return Netns{Path: m.pod().Path}
		}, nil, here, hostport.Alive},
		{"by its path only, which is gone", func(_ machine) Netns {
			return Netns{Path: "/run/netns/none"}
		}, nil, here, byPath},
		{"by its path only, which cannot be seen", func(_ machine) Netns {
			return Netns{Path: "/run/netns/none"}
		}, nil, both, hostport.Unknown},
		{"by nothing", func(machine) Netns { return Netns{} }, nil, here, hostport.Unknown},
		{"another one has its inode by now", func(m machine) Netns {
			n := m.pod()
			if n.Cookie == 0 {
				need.Skip(m.t, "the kernel has no cookies of network namespaces")
			}
			n.Path, n.Cookie = "/run/netns/none", n.Cookie+1
			return n
		}, nil, here, hostport.Dead},
		{"one has its inode, and no cookie is known", func(m machine) Netns {
			n := m.pod()
			n.Path, n.Cookie = "/run/netns/none", 0
			return n
		}, nil, here, hostport.Alive},
		{"something else is at its path", func(m machine) Netns {
			n := m.pod()
			f, err := os.Open(n.Path) // which keeps the inode from being used again
			if err != nil {
				m.t.Fatal(err)
			}
			m.t.Cleanup(func() { f.Close() })
			m.run("ip", "netns", "del", filepath.Base(n.Path))
			m.run("ip", "netns", "add", filepath.Base(n.Path))
			return n
		}, nil, here, hostport.Dead},
		{"mounted where its runtime is", func(m machine) Netns {
			n, _ := m.runtime()
			return n
		}, nil, here, hostport.Alive},
		{"mounted where its runtime was", func(m machine) Netns {
			n, stop := m.runtime()
			stop()
			return n
		}, nil, here, hostport.Dead},
		{"mounted where nobody is at the moment", func(m machine) Netns {
			at := filepath.Join(m.dir, "mnt")
			m.run("mount", "--bind", m.dir, m.dir)
			m.run("mount", "--make-private", m.dir)
			m.t.Cleanup(func() { _ = exec.Command("umount", "-l", m.dir).Run() })
			m.run("touch", at)
			n, stop := m.runtime("--mount=" + at)
			m.t.Cleanup(func() { _ = exec.Command("umount", "-l", at).Run() })
			stop()
			return n
		}, nil, here, hostport.Unknown},
		{"a process is hidden", machine.buried, func(Netns) string { return "mount -t proc -o hidepid=2 proc /proc" }, unprivileged, hostport.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := machine{t, t.TempDir()}
			n, script := tt.make(m), ":"
			if tt.script != nil {
				script = tt.script(n)
			}
			life, why := m.ask(n, script, tt.from...)
			if life != tt.want || (why != "") != (life == hostport.Unknown) {
				t.Errorf("got %d (%s), want %d", life, why, tt.want)
			}
		})
	}
}

// Where the ID of the boot is covered, a live pod seems to be of another boot.
func TestLifeBefore(t *testing.T) {
	need.Root(t)
	lives := machine{t, t.TempDir()}.pod()
	m := machine{t, t.TempDir()}
	gone := m.pod()
	m.run("umount", gone.Path)
	elsewhere := gone
	elsewhere.View.PID++
	unseen := gone
	unseen.Path, unseen.Inode = lives.Path, lives.Inode+1
	for _, tt := range []struct {
		name string
		n    Netns
		want hostport.Life
	}{
		{"it is at its path", lives, hostport.Alive},
		{"nothing is left", gone, hostport.Dead},
		{"another one is at its path", unseen, hostport.Dead},
		{"its ADD saw other processes", elsewhere, hostport.Unknown},
		{"a record without an inode", Netns{Path: lives.Path}, hostport.Dead},
	} {
		if life, why := See("/proc").LifeBefore(tt.n); life != tt.want || (why != "") != (life == hostport.Unknown) {
			t.Errorf("%s: got %d (%s), want %d", tt.name, life, why, tt.want)
		}
	}
}
