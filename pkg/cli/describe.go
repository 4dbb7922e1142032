// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"

	"github.com/spf13/pflag"
)

// About is the first line of the help.
const About = "portguard maps hostPorts to pods; container runtimes call it through CNI."

// A Description is what the help says of a command.
type Description struct {
	Name, Args, Short, Long string
	Examples                []string
	// Flags are those that all commands have, and then its own.
	Flags *pflag.FlagSet
}

// Describe tells of all commands, for the manual page and the completions.
func Describe() (out []Description) {
	for _, c := range commands() {
		out = append(out, Description{c.name, c.args, c.short, c.long, c.examples, (&session{}).flagSet(c)})
	}
	return out
}

// flagSet puts the flags of c into s.
func (s *session) flagSet(c command) *pflag.FlagSet {
	fs := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.SortFlags = false
	fs.StringVarP(&s.output, "output", "o", "table", `"table" or "json"`)
	fs.StringVar(&s.confDir, "conf-dir", "/etc/cni/net.d", "where the runtime's network configurations are")
	fs.StringVar(&s.dataDir, "data-dir", "", "dataDir of portguard (default: what the configuration says)")
	fs.StringVar(&s.cacheDir, "cache-dir", "", "cacheDir of portguard (default: what the configuration says)")
	if c.flags != nil {
		c.flags(fs, s)
	}
	return fs
}
