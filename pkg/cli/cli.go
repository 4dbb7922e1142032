// SPDX-License-Identifier: Apache-2.0

// Package cli is portguard as a person runs it, with arguments and without
// CNI_COMMAND.
package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/confdir"
	"github.com/portguard/portguard/pkg/inspect"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/plugin"
)

// Exit codes. Those of doctor are what a node-problem-detector expects.
const (
	OK      = 0
	Problem = 1 // something was found, refused or failed
	Usage   = 2 // the command line is wrong, or the node could not be read
)

// A command is one verb.
type command struct {
	name, args, short, long string
	examples                []string
	// flags adds its own to those that all have.
	flags func(*pflag.FlagSet, *session)
	run   func(*session) int
}

func commands() []command {
	return []command{listCommand(), explainCommand(), doctorCommand(), restoreCommand(), gcCommand(), metricsCommand()}
}

// A session is one run of a command.
type session struct {
	// The values of all flags.
	output, confDir, dataDir, cacheDir, textfile string
	dryRun                                       bool

	plugin  *plugin.Plugin
	inspect *inspect.Inspector
	version string
	args    []string
	out     io.Writer
	err     io.Writer
	// conf is the configuration of portguard on this node.
	conf *netconf.Config
}

// Run runs a command on a node and returns the exit code.
func Run(n inspect.Node, version string, args []string, stdout, stderr io.Writer) int {
	all := commands()
	name := strings.TrimLeft(args[0], "-")
	switch i := slices.IndexFunc(all, func(c command) bool { return c.name == name }); {
	case i >= 0:
		p := plugin.New(n, stdout, stderr)
		return start(all[i], &session{plugin: p, inspect: &inspect.Inspector{Node: n, Plugin: p}, version: version, out: stdout, err: stderr}, args[1:])
	case name == "help" && len(args) > 1 && strings.TrimLeft(args[1], "-") != "help":
		return Run(n, version, []string{args[1], "--help"}, stdout, stderr)
	case name == "help" || name == "h":
		help(stdout, all)
		return OK
	case name == "version":
		fmt.Fprintln(stdout, "portguard", version)
		return OK
	}
	fmt.Fprintf(stderr, "portguard: there is no command %q\n\n", args[0])
	help(stderr, all)
	return Usage
}

func help(w io.Writer, all []command) {
	fmt.Fprintf(w, "%s\nBy hand it knows:\n\n", About)
	for _, c := range all {
		fmt.Fprintf(w, "  portguard %-30s %s\n", strings.TrimSpace(c.name+" "+c.args), c.short)
	}
	fmt.Fprintf(w, "  portguard version                        says which version this is\n\n"+
		"\"portguard COMMAND --help\" tells more. Only restore and gc change anything.\n")
}

// start reads the flags and runs c.
func start(c command, s *session, args []string) int {
	fs := s.flagSet(c)
	switch err := fs.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(s.out, "portguard %s\n\n%s\n\nExamples:\n", strings.TrimSpace(c.name+" "+c.args), c.long)
		for _, e := range c.examples {
			fmt.Fprintln(s.out, "  "+e)
		}
		fmt.Fprintf(s.out, "\nFlags:\n%s", fs.FlagUsages())
		return OK
	case err != nil:
		return s.usage(c, err.Error())
	case s.output != "table" && s.output != "json":
		return s.usage(c, fmt.Sprintf("-o %q is not an output (want table or json)", s.output))
	case c.args == "" && fs.NArg() > 0 || strings.HasPrefix(c.args, "PORT") && fs.NArg() != 1:
		return s.usage(c, fmt.Sprintf("got %d arguments; want: portguard %s", fs.NArg(), strings.TrimSpace(c.name+" "+c.args)))
	}
	if err := s.dirs(fs); err != nil {
		return s.usage(c, err.Error())
	}
	if os.Geteuid() != 0 {
		fmt.Fprintf(s.err, "portguard %s: must run as root: rules, sockets and records are not for others to see\n", c.name)
		return Usage
	}
	s.args = fs.Args()
	out := &sink{Writer: s.out}
	s.out = out
	s.configure()
	stop := s.watch()
	code := c.run(s)
	stop()
	switch {
	case errors.Is(out.err, syscall.EPIPE): // as of "| head"
		return Usage
	case out.err != nil:
		return s.fail(out.err)
	}
	return code
}

// A sink remembers that a write failed: half a table is no answer.
type sink struct {
	io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	n, err := s.Writer.Write(b)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

func (s *session) usage(c command, problem string) int {
	fmt.Fprintf(s.err, "portguard %s: %s\nsee: portguard %s --help\n", c.name, problem, c.name)
	return Usage
}

// dirs checks the directories that the command line names: a misspelt one must not look
// like a node without hostPorts. Before the first pod only the first is there.
func (s *session) dirs(fs *pflag.FlagSet) error {
	for _, d := range []struct {
		flag string
		into *string
	}{{"conf-dir", &s.confDir}, {"data-dir", &s.dataDir}, {"cache-dir", &s.cacheDir}} {
		if !fs.Changed(d.flag) {
			continue
		}
		dir, ok := netconf.Directory(*d.into)
		if !ok {
			return fmt.Errorf("--%s: %q is not an absolute path of a directory other than /", d.flag, *d.into)
		}
		st, err := os.Stat(dir)
		switch {
		case err == nil && !st.IsDir():
			return fmt.Errorf("--%s: %s is not a directory", d.flag, dir)
		case err != nil && d.flag == "conf-dir":
			return fmt.Errorf("--%s: %w", d.flag, err)
		case err != nil:
			fmt.Fprintf(s.err, "portguard: warning: --%s: %v; nothing is known from it\n", d.flag, err)
		}
		*d.into = dir
	}
	return nil
}

// configure finds the configuration that the runtime uses. Without a sound one the
// defaults must do.
func (s *session) configure() {
	var err error
	if s.conf, err = confdir.Config(s.confDir); err != nil {
		fmt.Fprintf(s.err, "portguard: warning: %s; the defaults are used\n", plain(err.Error()))
	}
	s.conf.DataDir = cmp.Or(s.dataDir, s.conf.DataDir)
	s.conf.CacheDir = cmp.Or(s.cacheDir, s.conf.CacheDir)
}

// fail says why a command could not do its job.
func (s *session) fail(err error) int {
	if errors.Is(err, unix.EPERM) { // of the kernel: files say EACCES
		err = fmt.Errorf("%w; run it with CAP_NET_ADMIN, as root of the user namespace that this network namespace belongs to", err)
	}
	fmt.Fprintln(s.err, "portguard:", plain(strings.ReplaceAll(err.Error(), "\n", "; ")))
	return Usage
}
