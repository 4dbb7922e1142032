// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Plugin answers CNI calls. Its functions return *types.Error.
type Plugin struct {
	// Node is the machine it works on.
	Node Node
	// Stdout takes the result, Stderr warnings, which the runtime logs.
	Stdout, Stderr io.Writer
	// Now is the time.
	Now func() time.Time
}

// New returns the plugin for a node.
func New(n Node, stdout, stderr io.Writer) *Plugin {
	return &Plugin{Node: n, Stdout: stdout, Stderr: stderr, Now: time.Now}
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

// warnOf warns of an error, if it is one, for which the call does not fail.
func (p *Plugin) warnOf(err error, code uint) {
	if err != nil {
		p.warn(told(err, code))
	}
}

// debug writes a line if PORTGUARD_DEBUG is set.
func (p *Plugin) debug(format string, args ...any) {
	if os.Getenv("PORTGUARD_DEBUG") != "" {
		p.warn(fmt.Sprintf("debug: "+format, args...))
	}
}
