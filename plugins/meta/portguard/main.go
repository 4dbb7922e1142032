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
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/cli"
	"github.com/portguard/portguard/pkg/node"
	"github.com/portguard/portguard/pkg/plugin"
)

func main() {
	// A call ends within a second, and what it has read it needs to the end: the collector
	// would go through a growing heap again and again.
	debug.SetGCPercent(200)
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
		funcs.Del = whatever(funcs.Del)
	}
	skel.PluginMainFuncs(funcs, version.All, about)
}

// whatever has a DEL done whatever its configuration says: skel would refuse one without a
// name, or of another version, so it is shown a plain one.
func whatever(del func(*skel.CmdArgs) error) func(*skel.CmdArgs) error {
	var pipe [2]int // os.Pipe would begin to poll
	if unix.Pipe2(pipe[:], unix.O_CLOEXEC) != nil {
		return del
	}
	given, _ := io.ReadAll(os.Stdin) // as much of it as there is
	os.Stdin = os.NewFile(uintptr(pipe[0]), "plain configuration")
	_, _ = unix.Write(pipe[1], []byte(`{"cniVersion":"`+version.Current()+`","name":"any"}`))
	_ = unix.Close(pipe[1])
	return func(args *skel.CmdArgs) error {
		args.StdinData = given
		return del(args)
	}
}

// patience is how long a person waits for the names of processes.
const patience = 5 * time.Second
