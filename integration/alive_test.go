// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/state"
)

// from are the words of a command that unmounts a pod's namespace in a mount namespace of
// its own, as a debug container or a runtime with PrivateMounts= has one, and runs
// another command there. Blind it has processes of its own too.
func from(p *lab.Pod, blind bool) []string {
	words := []string{"unshare", "-m"}
	if blind {
		words = append(words, "-p", "-f", "--mount-proc")
	}
	return append(words, "sh", "-c", "mount --make-rprivate / && umount -l /run/netns/"+p.Name+` && exec "$0" "$@"`)
}

// there runs portguard as a person does there, and returns what it prints.
func there(n *lab.Node, p *lab.Pod, blind bool, args ...string) (string, error) {
	words := append(from(p, blind), "sh", "-c", `exec "$0" "$@" 2>/dev/null`, filepath.Join(n.Bin, "portguard"))
	return n.Try("", append(append(words, args...), "--conf-dir", n.Dir+"/net.d", "--cache-dir", n.Dir+"/cache")...)
}

// runs keeps a process in the pod until the returned function is called.
func runs(t *testing.T, p *lab.Pod) (pid int, stop func()) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	started := make(chan struct{})
	go p.Do(func() { // the thread must outlive the process
		err = cmd.Start()
		close(started)
		if err == nil {
			_ = cmd.Wait()
		}
	})
	<-started
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		for syscall.Kill(cmd.Process.Pid, 0) == nil {
			time.Sleep(time.Millisecond)
		}
	}
	t.Cleanup(stop)
	return cmd.Process.Pid, stop
}

// flushAll takes all rules away.
func flushAll(n *lab.Node) {
	n.Run("sh", "-c", "nft flush ruleset; for t in nat mangle; do for v in '' 6; do ip${v}tables-legacy -t $t -F; ip${v}tables-legacy -t $t -X; done; done")
}

// Whoever does not see the mounts of a living pod, but its process or the mounts of
// others, touches nothing of it.
func TestAliveElsewhere(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		web, other := n.NewPod("web"), n.NewPod("other")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		for _, how := range []string{"mounted elsewhere", "with a process"} {
			if how == "with a process" {
				runs(t, web)
			}
			held := n.Rules()
			if out, err := there(n, web, false, "gc"); err != nil || out != "Nothing is left of dead pods.\n" {
				t.Errorf("%s: gc: %v %q", how, err, out)
			}
			if out, err := there(n, web, false, "doctor"); err != nil || strings.Contains(out, "portguard gc") {
				t.Errorf("%s: doctor: %v %s", how, err, out)
			}
			conf := direct(n, other, `[{"hostPort":8080,"containerPort":80}]`, "")
			if out, _, err := n.Call("ADD", other, conf, from(web, false)...); err == nil || !strings.Contains(out, `"code": 101`) || !strings.Contains(out, "default/web") {
				t.Errorf("%s: ADD of another pod: %v %s", how, err, out)
			}
			unchanged(t, n, held)
			flushAll(n)
			if out, err := there(n, web, false, "restore"); err != nil || out != "restored pod default/web\n" {
				t.Errorf("%s: restore: %v %q", how, err, out)
			}
			want(t, how, n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		}
	})
}

// Whoever sees neither mounts nor processes of a pod cannot tell whether it lives, says so
// and touches nothing.
func TestNobodyCanTell(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		web, other := n.NewPod("web"), n.NewPod("other")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		held := n.Rules()
		const says = "pod default/web: nobody can tell from here whether it lives: the processes of the node are not seen from here"
		for verb, in := range map[string]string{"gc": "left hostPort 8080/tcp of " + says, "doctor": "unknown-owner", "list": string(inventory.Unknown) + ": nobody can tell"} {
			out, err := there(n, web, true, verb)
			if err != nil || !strings.Contains(out, in) || strings.Contains(out, "portguard gc") {
				t.Errorf("%s: %v %s", verb, err, out)
			}
		}
		for name, conf := range map[string]string{"web": collect(n, "net", validAre()), "other": direct(n, other, `[{"hostPort":8080,"containerPort":80}]`, "")} {
			verb := map[string]string{"web": "GC", "other": "ADD"}[name]
			out, errs, err := n.Call(verb, other, conf, from(web, true)...)
			if (err == nil) != (verb == "GC") || !strings.Contains(out+errs, "nobody can tell from here whether it lives") || !strings.Contains(out+errs, "default/web") {
				t.Errorf("%s: %v %s %s", verb, err, out, errs)
			}
		}
		unchanged(t, n, held)
		want(t, "from outside", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		flushAll(n)
		if out, err := there(n, web, true, "restore"); err == nil || !strings.Contains(out, "left "+says) {
			t.Errorf("restore: %v %q", err, out)
		}
		if out, err := cli(n, "restore"); err != nil || out != "restored pod default/web\n" {
			t.Errorf("restore by who sees: %v %q", err, out)
		}
		want(t, "restored", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
	})
}

// The namespace is that of a process which ends while others of the pod live.
func TestNetnsOfAProcess(t *testing.T) {
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		web := n.NewPod("web")
		web.Serve(80, "web")
		pid, first := runs(t, web)
		_, last := runs(t, web)
		named := *web
		byPID := *web.Netns
		byPID.Path = fmt.Sprintf("/proc/%d/ns/net", pid)
		named.Netns = &byPID
		n.MustAdd(&named, list, lab.TCP(8080, 80))
		n.Run("umount", "/run/netns/"+web.Name)
		first()
		refused(t, n, list, 101, []string{"pod default/web has hostPort 8080/tcp"}, lab.TCP(8080, 80))
		want(t, "the pod", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		last()
		accepted(t, n, list, lab.TCP(8080, 80))
	})
}

// The kernel gives the inode of a dead pod's namespace to the next one, which has nothing
// to do with it.
func TestInodeUsedAgain(t *testing.T) {
	n := newNode(t, "nftables", "nft")
	list := n.Network("net", "46", nil)
	dead := n.NewPod("dead")
	n.MustAdd(dead, list, lab.TCP(8080, 80))
	was, err := state.StatNetns(dead.Path)
	if err != nil {
		t.Fatal(err)
	}
	dead.Delete()
	heir := n.NewPod("heir")
	for range 100 {
		if now, err := state.StatNetns(heir.Path); err != nil || now.Inode == was.Inode {
			break
		}
		heir = n.NewPod("heir") // the others keep theirs
	}
	if now, _ := state.StatNetns(heir.Path); now.Inode != was.Inode {
		t.Log("the kernel does not use inodes again")
	}
	heir.Serve(80, "heir")
	n.MustAdd(heir, list, lab.TCP(8080, 80))
	want(t, "the heir", n.Client.Who("tcp4", lab.NodeV4+":8080"), "heir")
}

// After a flush of all rules, or those of one family, the ports of the living are not free.
func TestFlushedPorts(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, n *lab.Node) {
		list := n.Network("net", "46", nil)
		confDir(t, n, list)
		web := n.NewPod("web")
		web.Serve(80, "web")
		n.MustAdd(web, list, lab.TCP(8080, 80))
		for _, all := range []bool{false, true} {
			switch {
			case all:
				flushAll(n)
			case n.Native():
				n.Run("nft", "flush map inet portguard ports4")
			default:
				n.Run("sh", "-c", "iptables -t nat -F; iptables -t nat -X")
			}
			if d := ask(t, n, "8080/tcp").Decision; d.Code != 101 {
				t.Errorf("explain: %+v", d)
			}
			if e := listed(t, n)["0.0.0.0 8080/tcp"]; e.State != inventory.Missing {
				t.Errorf("list: %+v", e)
			}
			next := n.NewPod("next")
			_, err := n.Add(next, list, lab.TCP(8080, 80))
			for _, says := range []string{"pod default/web has hostPort 8080/tcp", "its rules are gone", "portguard restore"} {
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("ADD: %v, want %q", err, says)
				}
			}
			want(t, "healed by the DEL of the pod that was refused", n.Client.Who("tcp4", lab.NodeV4+":8080"), "web")
		}
		flushAll(n)
		web.Delete()
		accepted(t, n, list, lab.TCP(8080, 80))
		if f := n.StateFiles(); len(f) > 0 {
			t.Errorf("records left: %v", f)
		}
	})
}

// A pod on its way out is waited for, while others go on. Of two that wait one gets the
// port.
func TestClaimWait(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"nftables", "iptables"} {
		n := newNode(t, backend, "nft")
		list, brief := n.Network("net", "46", lab.Conf{"claimWait": nil}), n.Network("net", "46", lab.Conf{"claimWait": "2s"})
		old, next, free := n.NewPod("web"), n.NewPod("next"), n.NewPod("free")
		next.Serve(80, "next")
		n.MustAdd(old, list, lab.TCP(8080, 80))
		got := waits(n, next, list)
		n.MustAdd(free, list, lab.TCP(8081, 80)) // nobody has the lock
		if len(got) > 0 {
			t.Fatalf("%s: it does not wait: %v", backend, <-got)
		}
		if err := n.Del(old, list, lab.TCP(8080, 80)); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Errorf("%s: ADD with the default: %v", backend, err)
		}
		want(t, backend, n.Client.Who("tcp4", lab.NodeV4+":8080"), "next")

		first, second := waits(n, n.NewPod("first"), brief), waits(n, n.NewPod("second"), brief)
		time.Sleep(500 * time.Millisecond)
		if err := n.Del(next, list, lab.TCP(8080, 80)); err != nil {
			t.Fatal(err)
		}
		if a, b := <-first, <-second; (a == nil) == (b == nil) {
			t.Errorf("%s: of two that wait: %v, %v", backend, a, b)
		}
	}
}

// waits adds a pod with hostPort 8080 meanwhile.
func waits(n *lab.Node, p *lab.Pod, list string) <-chan error {
	got := make(chan error, 1)
	go func() {
		_, err := n.Add(p, list, lab.TCP(8080, 80))
		got <- err
	}()
	return got
}

// A new sandbox of a pod whose old one is being stopped is told that.
func TestEarlierSandbox(t *testing.T) {
	n := newNode(t, "", "nft")
	list := n.Network("net", "46", nil)
	old, next := n.NewPod("web"), n.NewPod("web")
	n.MustAdd(old, list, lab.TCP(8080, 80))
	_, err := n.Add(next, list, lab.TCP(8080, 80))
	if err == nil || !strings.Contains(err.Error(), "an earlier sandbox of this pod") || !strings.Contains(err.Error(), "it will be tried again") {
		t.Errorf("ADD: %v", err)
	}
	if out, err := n.Add(n.NewPod("db"), list, lab.TCP(8080, 80)); err == nil || !strings.Contains(err.Error(), "pod default/web has hostPort") {
		t.Errorf("ADD of another pod: %v %s", err, out)
	}
}
