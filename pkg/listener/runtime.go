// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/hostport"
)

// identify says for which container a process holds its ports. Runtimes keep published
// ports open, so that nobody else takes them, while a mapping does the work: podman in
// conmon, nerdctl in a process whose PID it writes down, docker in docker-proxy. A process
// that lies here gives away its own port.
func (r *Reader) identify(p *hostport.Process) {
	switch args := r.args(p.PID); {
	case r.ofCaller(p.PID):
		p.Container = os.Getenv("CNI_CONTAINERID")
	case p.Comm == "conmon":
		p.Container = option(args, "c", "cid")
	case strings.HasPrefix(p.Comm, "docker-proxy"):
		addr, _ := netip.ParseAddr(option(args, "container-ip"))
		port, err := strconv.ParseUint(option(args, "container-port"), 10, 16)
		if addr.IsValid() && err == nil {
			p.Target = netip.AddrPortFrom(addr.Unmap(), uint16(port))
		}
	default:
		p.Container = r.reservedBy(p.PID)
	}
}

// ofCaller reports whether a process is the runtime that called us, or its child:
// nerdctl's hook opens the ports just before it runs the CNI plugins, podman sometimes
// too. The name is compared as well: a daemon that serves many containers (containerd,
// CRI-O) holds ports of its own.
func (r *Reader) ofCaller(pid int) bool {
	caller := os.Getppid()
	return r.single(caller) && (pid == caller || r.parent(pid) == caller)
}

// single reports whether a process is a runtime that serves one container.
func (r *Reader) single(pid int) bool {
	switch r.comm(pid) {
	case "nerdctl", "podman", "conmon":
		return true
	}
	return false
}

// CalledAlone reports whether the runtime that called us lets nobody else call plugins
// until we return: those that serve one container have a lock for that.
func CalledAlone() bool { return New("").single(os.Getppid()) }

// CallerBinds reports whether the runtime that called us binds the ports itself when the
// plugins are done: podman does, and leaves them to conmon (bindPorts of
// libpod/oci_conmon_common.go).
func CallerBinds() bool {
	comm := New("").comm(os.Getppid())
	return comm == "podman" || comm == "conmon"
}

// maxPID is more than a file with a PID has.
const maxPID = 64

// reservedBy is the container for which nerdctl keeps ports open with a process. To CNI
// plugins nerdctl names a container "NAMESPACE-ID".
func (r *Reader) reservedBy(pid int) string {
	files, _ := filepath.Glob(filepath.Join(r.Nerdctl, "*", "*", "port-reserver.pid"))
	for _, f := range files {
		if b, err := file.Read(f, maxPID, 0); err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(pid) {
			dir := filepath.Dir(f)
			return filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir)
		}
	}
	return ""
}

// parent reads the parent's PID from /proc/PID/stat; the process name in
// parentheses may hold anything.
func (r *Reader) parent(pid int) int {
	b, _ := os.ReadFile(r.pid(pid, "stat"))
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(f[1])
	return ppid
}

// args are the arguments of a process.
func (r *Reader) args(pid int) []string {
	b, _ := os.ReadFile(r.pid(pid, "cmdline"))
	return strings.Split(string(b), "\x00")
}

// option is the value of the first of args that is an option of one of the names: "-name
// value" or "-name=value", with one dash or two.
func option(args []string, names ...string) string {
	for i, arg := range args {
		name, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		if !strings.HasPrefix(arg, "-") || !slices.Contains(names, name) {
			continue
		}
		if !given && i+1 < len(args) {
			value = args[i+1]
		}
		return value
	}
	return ""
}
