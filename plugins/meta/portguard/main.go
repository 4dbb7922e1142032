// SPDX-License-Identifier: Apache-2.0

// The Go runtime would read /proc/self/mountinfo at every start to find a limit of
// CPUs; on a node with hundreds of pods that is long, and one CPU is enough.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command portguard is a chained CNI plugin that maps hostPorts to pods after
// it has made sure that nobody else receives their traffic.
package main

import (
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/portguard/portguard/pkg/cli"
	"github.com/portguard/portguard/pkg/node"
	"github.com/portguard/portguard/pkg/plugin"
)

func main() {
	n := node.New()
	about := ""
	if os.Getenv("CNI_COMMAND") == "" { // else nobody reads it, and the version takes time
		if len(os.Args) > 1 {
			n.Patience = patience
			os.Exit(cli.Run(n, buildVersion(), os.Args[1:], os.Stdout, os.Stderr))
		}
		about = "CNI plugin portguard " + buildVersion() + "\nBy hand it knows commands: portguard help"
	}
	p := plugin.New(n, os.Stdout, os.Stderr)
	skel.PluginMainFuncs(p.Funcs(), version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"), about)
}

// patience is how long a person waits for the names of processes.
const patience = 5 * time.Second
