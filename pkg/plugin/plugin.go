// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"io"
	"time"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/listener"
)

// A Plugin answers CNI calls. Its functions return *types.Error.
type Plugin struct {
	// Stderr takes warnings; the runtime logs them.
	Stderr io.Writer
	// Proc is where procfs is mounted.
	Proc string
	// Patience bounds the search for the processes that hold sockets.
	Patience time.Duration
	// Progress, if set, is told what is being done now.
	Progress func(string)
}

// New returns the plugin for this machine.
func New(stderr io.Writer) *Plugin {
	return &Plugin{Stderr: stderr, Proc: "/proc", Patience: listener.Patience}
}

// Funcs are the verbs for skel.
func (p *Plugin) Funcs() skel.CNIFuncs {
	return skel.CNIFuncs{Add: p.Add, Del: p.Del, Check: p.Check, GC: p.GC, Status: p.Status}
}

// warn writes warnings, each in one plain line.
func (p *Plugin) warn(lines ...string) {
	for _, l := range lines {
		fmt.Fprintf(p.Stderr, "portguard: warning: %s\n", hostport.Line(l))
	}
}

func (p *Plugin) tools(wait time.Duration) *iptables.Tools {
	return &iptables.Tools{Proc: p.Proc, Wait: wait}
}
