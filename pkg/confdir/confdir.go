// SPDX-License-Identifier: Apache-2.0

// Package confdir reads the directory of network configurations as a container
// runtime does.
package confdir

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/netconf"
)

// Read loads all configurations of a directory, in the order in which containerd
// and CRI-O look at them (pkg/ocicni, go-cni). One that cannot be loaded says so
// itself.
func Read(dir string) ([]doctor.Conflist, error) {
	files, err := libcni.ConfFiles(dir, []string{".conflist", ".conf", ".json"})
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var out []doctor.Conflist
	for _, f := range files {
		l := doctor.Conflist{File: f}
		list, err := load(f)
		if l.Err = err; err == nil {
			l.Name = list.Name
			for _, p := range list.Plugins {
				l.Types = append(l.Types, p.Network.Type)
				if p.Network.Type == "portguard" {
					l.Capable = p.Network.Capabilities["portMappings"]
					_, l.Invalid = netconf.Parse(p.Bytes)
				}
			}
		}
		out = append(out, l)
	}
	return out, nil
}

func load(file string) (*libcni.NetworkConfigList, error) {
	if strings.HasSuffix(file, ".conflist") {
		return libcni.ConfListFromFile(file)
	}
	conf, err := libcni.ConfFromFile(file)
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromConf(conf)
}

// Config is portguard's configuration in the first file of a directory that names
// it. Without a sound one it is the default.
func Config(dir string) (c *netconf.Config, err error) {
	if c, err = netconf.Parse([]byte("{}")); err != nil {
		return nil, err
	}
	lists, err := Read(dir)
	if err != nil {
		return c, nil //nolint:nilerr // no directory is no configuration
	}
	for _, l := range lists {
		if !slices.Contains(l.Types, "portguard") {
			continue
		}
		list, err := load(l.File)
		if err != nil {
			return c, err
		}
		for _, p := range list.Plugins {
			if p.Network.Type == "portguard" {
				sound, err := netconf.Parse(p.Bytes)
				if err != nil { // where its records are may be said all the same
					c.DataDir = netconf.ParseTeardown(p.Bytes).DataDir
					return c, fmt.Errorf("%s: %w", l.File, err)
				}
				return sound, nil
			}
		}
	}
	return c, nil
}
