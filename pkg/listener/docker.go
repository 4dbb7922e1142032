// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/hostport"
)

// A published is a port that a container of docker's has on the node, as docker writes it.
type published struct{ name, addr, port string }

// docker names the container whose port a process of docker's keeps. all is what is published,
// read when the first one asks, as far as there is time.
func (r *Reader) docker(l hostport.Listener, all *[]published, deadline time.Time) string {
	daemon := l.Holder.PID
	if l.Holder.Comm != "dockerd" {
		daemon = r.parent(daemon)
	}
	if *all == nil {
		*all = r.published(daemon, deadline)
	}
	for _, p := range *all {
		addr, err := netip.ParseAddr(p.addr)
		if p.port == strconv.Itoa(int(l.Port))+"/"+l.Proto.String() && err == nil && addr == l.Addr {
			return p.name
		}
	}
	return ""
}

// maxName is longer than people name containers, and short enough for a message.
const maxName = 255

// published are the ports of running containers, by the state that the daemon keeps of each
// (Container in moby's daemon/container).
func (r *Reader) published(daemon int, deadline time.Time) []published {
	out := []published{}
	files, _ := filepath.Glob(filepath.Join(r.dataRoot(daemon), "containers", "*", "config.v2.json"))
	const most = 1 << 20                                        // more than docker writes
	named := regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`) // docker gives no other
	for _, f := range files {
		if time.Now().After(deadline) {
			break
		}
		var c struct {
			Name            string
			State           struct{ Running bool }
			NetworkSettings struct {
				Ports map[string][]struct{ HostIP, HostPort string }
			}
		}
		b, err := file.Read(f, most, 0)
		if err != nil || json.Unmarshal(b, &c) != nil || !c.State.Running {
			continue
		}
		name := strings.TrimPrefix(c.Name, "/")
		if len(name) > maxName || !named.MatchString(name) {
			continue
		}
		for inside, ports := range c.NetworkSettings.Ports {
			_, proto, _ := strings.Cut(inside, "/")
			for _, p := range ports {
				out = append(out, published{name, p.HostIP, p.HostPort + "/" + proto})
			}
		}
	}
	return out
}

// dataRoot is where the daemon keeps its state: it has the database of its volumes open.
func (r *Reader) dataRoot(daemon int) string {
	root := "/var/lib/docker"
	for _, link := range r.sockets(daemon) {
		if dir, ok := strings.CutSuffix(link, "/volumes/metadata.db"); ok {
			root = dir
		}
	}
	return r.pid(daemon, "root") + root
}
