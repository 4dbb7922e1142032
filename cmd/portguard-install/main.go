// SPDX-License-Identifier: Apache-2.0

// Command portguard-install is what the DaemonSet of deploy/ runs on every node.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/portguard/portguard/pkg/backend/reservation"
	"github.com/portguard/portguard/pkg/install"
	"github.com/portguard/portguard/pkg/run"
)

const usage = `portguard-install COMMAND

  install  puts the plugin into the runtime's folder and into portmap's place in its
           conflist; waits until that could be done
  keep     does it again whenever somebody undid it, until it is told to end; with
           --daemonset it takes both back then if that is deleted
  remove   takes both back; waits until no pod needs portguard
  rest     does nothing until it is told to end

`

func main() {
	if len(os.Args) > 3 && os.Args[1] == entering {
		say("%v", enter(os.Args[2], os.Args[3], os.Args[4:]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	n := &install.Node{Log: say}
	flags := pflag.NewFlagSet("portguard-install", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.StringVar(&n.Plugin, "plugin", "/portguard", "the plugin to install")
	flags.StringVar(&n.BinDir, "bin-dir", "/host/bin", "where the runtime looks for plugins")
	flags.StringVar(&n.ConfDir, "conf-dir", "/host/conf", "where the runtime looks for conflists")
	flags.StringVar(&n.Conflist, "conflist", "", "name of the list to edit (default: the first, which the runtime takes)")
	flags.StringSliceVar(&n.Protect, "protected-ports", nil, "ports that no pod gets, such as 22/tcp,10250/tcp")
	flags.DurationVar(&n.Grace, "grace", 5*time.Second, "how long the runtime may go on with what it has read before")
	mounts := flags.String("mounts", "", "mount namespace that the plugin is asked in, such as /proc/1/ns/mnt (default: this one)")
	owner := flags.String("daemonset", "", "the DaemonSet of this pod, which keep asks the API for (default: it asks nobody)")
	every := flags.Duration("every", 2*time.Second, "how often to look")
	flags.Usage = func() { fmt.Fprintf(os.Stderr, "%sFlags:\n%s", usage, flags.FlagUsages()) }
	n.Run = func(path string, args ...string) (run.Result, error) { return ask(*mounts, path, args...) }
	n.Free = func() error { return free(*mounts) }
	err := flags.Parse(os.Args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return
	case err == nil && flags.NArg() != 1:
		err = errors.New("want one command; see portguard-install --help")
	case err == nil && *every <= 0:
		err = errors.New("--every must be more than 0")
	}
	if err == nil {
		err = start(ctx, flags.Arg(0), n, *every, *owner)
	}
	if err != nil {
		say("%v", err)
		stop()
		os.Exit(1)
	}
}

// start runs a command.
func start(ctx context.Context, command string, n *install.Node, every time.Duration, owner string) error {
	switch command {
	case "install":
		return until(ctx, every, n.Install)
	case "keep":
		return keep(ctx, n, every, owner)
	case "remove":
		return until(ctx, every, func() error { return remove(n) })
	case freeing:
		return reservation.Uninstall()
	case "rest":
		<-ctx.Done()
		return nil
	}
	return fmt.Errorf("there is no command %q; see portguard-install --help", command)
}

// keep undoes what others undo. When the DaemonSet is deleted it takes portguard back, and
// waits for nobody: what a pod still needs stays for the DEL of that pod.
func keep(ctx context.Context, n *install.Node, every time.Duration, owner string) error {
	var d *daemonSet
	if owner != "" {
		var err error
		if d, err = newDaemonSet(owner, account); err != nil {
			say("whether DaemonSet %s is deleted cannot be asked, so portguard would stay then: %v", owner, err)
		} else {
			following, stop := context.WithCancel(context.Background()) // on, when this pod is told to end
			defer stop()
			go d.follow(following)
		}
	}
	err := until(ctx, every, func() error {
		if err := n.Install(); err != nil {
			return err
		}
		return errQuiet
	})
	if d == nil || !d.removed() {
		return err
	}
	say("DaemonSet %s is deleted, so portguard goes", owner)
	return until(context.Background(), every, func() error {
		needed, err := n.Remove()
		if err == nil && len(needed) > 0 {
			say("portguard stays for the DEL of its pods: %s", strings.Join(needed, ", "))
		}
		return err
	})
}

// remove fails while somebody needs portguard.
func remove(n *install.Node) error {
	needed, err := n.Remove()
	if err == nil && len(needed) > 0 {
		err = fmt.Errorf("portguard is needed: %s", strings.Join(needed, ", "))
	}
	return err
}

// errQuiet asks for another round without a word.
var errQuiet = errors.New("")

// until tries until there is no error. What went wrong is said once. Being told to end is
// the end of keep and a failure of the others, which had to wait.
func until(ctx context.Context, every time.Duration, try func() error) error {
	said := ""
	for {
		err := try()
		if err == nil {
			return nil
		}
		if err.Error() != said && !errors.Is(err, errQuiet) {
			say("%v", err)
		}
		said = err.Error()
		select {
		case <-ctx.Done():
			if errors.Is(err, errQuiet) {
				return nil
			}
			return errors.New("told to end before it was done")
		case <-time.After(every):
		}
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
