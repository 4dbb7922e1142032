// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
)

// What docker 20.10 writes of a container, but for what nobody reads here.
const shop = `{"State":{"Running":true,"Paused":false,"Pid":243},"ID":"b01f7be2a928","NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2"}},
	"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8081"},{"HostIp":"::","HostPort":"8081"}],"81/udp":[{"HostIp":"127.0.0.1","HostPort":"8082"}],"82/tcp":null}},"Name":"/web-shop"}`

// A port that docker keeps is that of a running container, wherever the daemon keeps its state.
func TestContainersOfDocker(t *testing.T) {
	for _, tt := range []struct {
		name, comm, where string
		l                 hostport.Listener
		want              string
	}{
		{"its proxy", "docker-proxy", "/var/lib/docker", sock(hostport.TCP, "0.0.0.0", 8081, 0, 100), "web-shop"},
		{"for IPv6", "docker-proxy", "/var/lib/docker", sock(hostport.TCP, "::", 8081, 0, 100), "web-shop"},
		{"for one address", "docker-proxy", "/srv/data", sock(hostport.UDP, "127.0.0.1", 8082, 0, 100), "web-shop"},
		{"the daemon", "dockerd", "/srv/data", sock(hostport.TCP, "0.0.0.0", 8081, 0, 100), "web-shop"},
		{"the daemon's own", "dockerd", "/srv/data", sock(hostport.TCP, "127.0.0.1", 2375, 0, 100), ""},
		{"another protocol", "docker-proxy", "/srv/data", sock(hostport.UDP, "0.0.0.0", 8081, 0, 100), ""},
		{"another address", "docker-proxy", "/srv/data", sock(hostport.TCP, "192.0.2.1", 8081, 0, 100), ""},
		{"of a container that has stopped", "docker-proxy", "/srv/data", sock(hostport.TCP, "0.0.0.0", 9000, 0, 100), ""},
		{"of one with a name that docker does not give", "docker-proxy", "/srv/data", sock(hostport.TCP, "0.0.0.0", 9001, 0, 100), ""},
		{"somebody's program", "docker-proxy", "/srv/data", sock(hostport.TCP, "0.0.0.0", 8081, 65534, 100), ""},
		{"another program", "nginx", "/srv/data", sock(hostport.TCP, "0.0.0.0", 8081, 0, 100), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, daemon := proc(t, nil), 20
			if tt.comm == "dockerd" {
				process(t, dir, daemon, tt.comm, "", 7, 100)
			} else {
				process(t, dir, daemon, "dockerd", "", 7)
				process(t, dir, 30, tt.comm, "", 100)
				write(t, filepath.Join(dir, "30", "stat"), fmt.Sprintf("30 (docker-proxy) S %d 2 3\n", daemon))
			}
			if tt.where != "/var/lib/docker" {
				if err := os.Symlink(tt.where+"/volumes/metadata.db", filepath.Join(dir, fmt.Sprint(daemon), "fd", "9")); err != nil {
					t.Fatal(err)
				}
			}
			at := func(id, text string) {
				write(t, filepath.Join(dir, fmt.Sprint(daemon), "root", tt.where, "containers", id, "config.v2.json"), text)
			}
			at("b01f", shop)
			at("dead", strings.NewReplacer("true", "false", "8081", "9000").Replace(shop))
			at("evil", strings.NewReplacer("web-shop", "x; rm -r y", "8081", "9001").Replace(shop))
			at("long", strings.NewReplacer("web-shop", strings.Repeat("x", 1000), "8081", "9001").Replace(shop))
			at("torn", shop[:100])
			ls := []hostport.Listener{tt.l}
			(&Reader{Proc: dir, Patience: time.Minute}).name(ls)
			if got := ls[0].Holder.Docker; got != tt.want {
				t.Errorf("%q, want %q of %s", got, tt.want, ls[0].Who())
			}
			if named := strings.Contains(ls[0].Who(), ", container web-shop)"); named != (tt.want != "") {
				t.Errorf("who is %s", ls[0].Who())
			}
		})
	}
}

// However many containers there are, the search ends in time.
func TestContainersOfDockerInTime(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "20", "root", "var/lib/docker/containers", "b01f", "config.v2.json"), shop)
	r := &Reader{Proc: dir}
	for left, want := range map[time.Duration]int{time.Minute: 3, -time.Second: 0} {
		if got := r.published(20, time.Now().Add(left)); len(got) != want {
			t.Errorf("%v: %v", left, got)
		}
	}
}
