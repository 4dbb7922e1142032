// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/hostport"
)

// Patience bounds the search for holders. Whose port it is is what a refusal is for, so
// a busy node gets the time; a node with a million descriptors does not hold up its pods.
const Patience = 2 * time.Second

// name fills in the holders of ls, as far as they are found in time.
func (r *Reader) name(ls []hostport.Listener) {
	missing := map[string][]int{}
	for i, l := range ls {
		if l.Inode != 0 {
			link := fmt.Sprintf("socket:[%d]", l.Inode)
			missing[link] = append(missing[link], i)
		}
	}
	var docker []published
	deadline := time.Now().Add(r.Patience)
	if len(missing) == 0 {
		return
	}
	for _, pid := range r.processes() {
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, places := range missing {
				for _, i := range places {
					ls[i].Holder.Unsought = true
				}
			}
			return
		}
		for _, link := range r.sockets(pid) {
			for _, i := range missing[link] {
				ls[i].Holder = r.process(pid)
				if uid := ls[i].UID; uid == 0 || uid == uint32(os.Geteuid()) {
					r.identify(&ls[i].Holder)
					if ls[i].Holder.OfDocker() {
						ls[i].Holder.Docker = r.docker(ls[i], &docker, deadline)
					}
				}
			}
			delete(missing, link)
		}
	}
}

// processes lists PIDs, those of this network namespace first and each group
// in ascending order, so that a server is named before its workers.
func (r *Reader) processes() []int {
	entries, err := os.ReadDir(r.Proc)
	if err != nil {
		return nil
	}
	here, _ := os.Readlink(filepath.Join(r.Proc, "thread-self/ns/net"))
	var same, other []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ns, _ := os.Readlink(r.pid(pid, "ns/net")); ns == here {
			same = append(same, pid)
		} else {
			other = append(other, pid)
		}
	}
	slices.Sort(same)
	slices.Sort(other)
	return append(same, other...)
}

func (r *Reader) pid(pid int, file string) string {
	return filepath.Join(r.Proc, strconv.Itoa(pid), file)
}

// sockets lists what the descriptors of a process link to.
func (r *Reader) sockets(pid int) []string {
	fds, err := os.ReadDir(r.pid(pid, "fd"))
	if err != nil {
		return nil
	}
	var out []string
	for _, fd := range fds {
		if link, err := os.Readlink(r.pid(pid, "fd/"+fd.Name())); err == nil {
			out = append(out, link)
		}
	}
	return out
}

func (r *Reader) process(pid int) hostport.Process {
	return hostport.Process{PID: pid, Comm: r.comm(pid), Pod: r.pod(pid)}
}

func (r *Reader) comm(pid int) string {
	b, err := os.ReadFile(r.pid(pid, "comm"))
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(b))
}

// pod names the pod of a process: its cgroup holds the pod's UID, and the kubelet's log
// directories hold UID and name.
func (r *Reader) pod(pid int) string {
	b, err := os.ReadFile(r.pid(pid, "cgroup"))
	if err != nil {
		return ""
	}
	uid := podUID(string(b))
	if uid == "" {
		return ""
	}
	return cmp.Or(r.logged(uid), r.sandbox(pid), "pod with UID "+uid)
}

// PodOfGroup names the pod that a cgroup is of by its path, "" if it is of none.
func (r *Reader) PodOfGroup(path string) string {
	uid := podUID(path)
	if uid == "" {
		return ""
	}
	return cmp.Or(r.logged(uid), "pod with UID "+uid)
}

// logged names a pod by the directory of its logs, "" if there is none.
func (r *Reader) logged(uid string) string {
	dirs, _ := os.ReadDir(r.PodLogs)
	for _, d := range dirs {
		if f := strings.Split(d.Name(), "_"); len(f) == 3 && f[2] == uid {
			return "pod " + f[0] + "/" + f[1]
		}
	}
	return ""
}

// sandbox names the pod of a process by what its runtime was told, "" if that is not known.
// The nearest ancestor outside of the container is containerd's shim, which works in the
// directory of the pod's sandbox.
func (r *Reader) sandbox(pid int) string {
	outside, err := os.Readlink(filepath.Join(r.Proc, "self/ns/mnt"))
	if err != nil {
		return ""
	}
	for mnt := ""; mnt != outside; mnt, _ = os.Readlink(r.pid(pid, "ns/mnt")) {
		if pid = r.parent(pid); pid <= 1 {
			return ""
		}
	}
	const most = 1 << 20 // more than any runtime writes
	b, err := file.Read(r.pid(pid, "cwd/config.json"), most, 0)
	var spec struct {
		Annotations struct {
			Namespace string `json:"io.kubernetes.cri.sandbox-namespace"`
			Name      string `json:"io.kubernetes.cri.sandbox-name"`
		} `json:"annotations"`
	}
	if err != nil || json.Unmarshal(b, &spec) != nil || spec.Annotations.Name == "" || spec.Annotations.Namespace == "" {
		return ""
	}
	return "pod " + spec.Annotations.Namespace + "/" + spec.Annotations.Name
}

// podUID finds the UID in a cgroup path: "kubepods-besteffort-pod<uid>.slice"
// with underscores (systemd) or "kubepods/pod<uid>" (cgroupfs). Static pods
// have 32 hexadecimal digits without dashes.
func podUID(cgroup string) string {
	re := regexp.MustCompile(`pod([0-9a-f]{8}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{12})\b`)
	m := re.FindStringSubmatch(cgroup)
	if m == nil {
		return ""
	}
	return strings.ReplaceAll(m[1], "_", "-")
}
