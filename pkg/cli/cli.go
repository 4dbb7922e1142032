// SPDX-License-Identifier: Apache-2.0

// Package cli is portguard as a person runs it, with arguments and without
// CNI_COMMAND.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/plugin"
)

// Exit codes.
const (
	OK      = 0
	Problem = 1 // something was refused or failed
	Usage   = 2 // the command line is wrong
)

const usage = `portguard maps hostPorts to pods; container runtimes call it through CNI.
By hand it knows:

  portguard restore [-data-dir DIR]   puts the rules of live pods back after a flush

`

// Run runs a command and returns the exit code.
func Run(p *plugin.Plugin, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("portguard "+args[0], flag.ContinueOnError)
	fs.SetOutput(stderr)
	dataDir := fs.String("data-dir", netconf.DefaultDataDir, "the dataDir of the configuration")
	if args[0] != "restore" {
		_, _ = io.WriteString(stderr, usage)
		return Usage
	}
	if err := fs.Parse(args[1:]); err != nil || fs.NArg() > 0 {
		if errors.Is(err, flag.ErrHelp) {
			return OK
		}
		return Usage
	}
	done, err := p.Restore(*dataDir, netconf.DefaultLockTimeout)
	code := OK
	for _, r := range done {
		if r.Refused != "" {
			code = Problem
		}
		if err == nil {
			fmt.Fprintln(stdout, r)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "portguard:", err)
		return Problem
	}
	return code
}
