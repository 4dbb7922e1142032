// SPDX-License-Identifier: Apache-2.0

// Command portguard is a chained CNI plugin that maps hostPorts to pods after
// it has made sure that nobody else receives their traffic.
package main

import (
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/portguard/portguard/pkg/cli"
	"github.com/portguard/portguard/pkg/node"
	"github.com/portguard/portguard/pkg/plugin"
)

func main() {
	var given []byte // to a DEL
	if os.Getenv("CNI_COMMAND") == "DEL" {
		wary()
		if given, _ = io.ReadAll(os.Stdin); idle(given) { // as much of it as there is
			return
		}
	}
	// A call ends within a second, and what it has read it needs to the end: the collector
	// would go through a growing heap again and again.
	debug.SetGCPercent(400)
	n := node.New()
	stdout, before := output()
	defer runtime.KeepAlive(before)
	about := ""
	if os.Getenv("CNI_COMMAND") == "" { // else nobody reads it, and the version takes time
		if len(os.Args) > 1 {
			n.Patience = patience
			os.Exit(cli.Run(n, buildVersion(), os.Args[1:], stdout, os.Stderr))
		}
		about = "CNI plugin portguard " + buildVersion() + "\nBy hand it knows commands: portguard help"
	}
	funcs := plugin.New(n, stdout, os.Stderr).Funcs()
	if os.Getenv("CNI_COMMAND") == "DEL" {
		funcs.Del = whatever(funcs.Del, given)
	}
	skel.PluginMainFuncs(funcs, version.All, about)
}

// patience is how long a person waits for the names of processes.
const patience = 5 * time.Second
