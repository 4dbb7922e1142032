// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/hostport"
)

// A cache is what libcni remembers of ADDs (libcni/api.go), below a directory: a file
// NETWORK-CONTAINER-INTERFACE each.
type cache struct {
	life  func(path string) (hostport.Life, string)
	dir   string
	files []string
}

func openCache(dir string, life func(path string) (hostport.Life, string)) cache {
	c := cache{life: life, dir: filepath.Join(dir, "results")}
	entries, _ := os.ReadDir(c.dir)
	for _, e := range entries {
		c.files = append(c.files, e.Name())
	}
	return c
}

// A result is one file (cachedInfo).
type result struct {
	ContainerID string      `json:"containerId"`
	NetworkName string      `json:"networkName"`
	NetNS       string      `json:"netns"`
	Args        [][2]string `json:"cniArgs"`
}

// results are those of a container, and of its network if that is known.
func (c cache) results(o hostport.Owner) []result {
	var out []result
	for _, name := range c.files {
		if o.ContainerID == "" || !strings.Contains(name, o.ContainerID) {
			continue
		}
		r, err := read(filepath.Join(c.dir, name))
		if err == nil && r.ContainerID == o.ContainerID && (o.Network == "" || r.NetworkName == o.Network) {
			out = append(out, r)
		}
	}
	return out
}

// maxResult is more than any runtime writes.
const maxResult = 1 << 20

func read(path string) (r result, err error) {
	b, err := file.Read(path, maxResult, 0)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// owner completes a container with its network and the name of its pod, and tells whether
// it lives: it is dead if the cache knows it and its network namespace is gone. One that the
// cache does not know lives.
func (c cache) owner(o hostport.Owner) (whole hostport.Owner, life hostport.Life, unsure string) {
	whole = o
	for i, r := range c.results(o) {
		switch l, why := c.life(r.NetNS); {
		case i == 0 || l == hostport.Alive:
			life, unsure = l, why
		case l == hostport.Unknown && life == hostport.Dead:
			life, unsure = l, why
		}
		if whole.Network == "" {
			whole.Network = r.NetworkName
		}
		for _, arg := range r.Args {
			switch arg[0] {
			case "K8S_POD_NAMESPACE":
				whole.PodNamespace = arg[1]
			case "K8S_POD_NAME":
				whole.PodName = arg[1]
			}
		}
	}
	return whole, life, unsure
}
