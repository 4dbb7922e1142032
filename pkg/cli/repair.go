// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/portguard/portguard/pkg/plugin"
)

func restoreCommand() command {
	return command{
		name: "restore", short: "puts the rules of live pods back after a flush",
		long: `Puts the rules of every live pod back as its ADD made them, after somebody flushed
them; what is in place stays. A pod whose port was taken meanwhile is refused by
name. One of which nobody can tell from here whether it lives is left as it is.
Exit code: 0, 1 if something was refused or left, 2 if nothing could be done.`,
		examples: []string{"portguard restore", "portguard restore -o json"},
		run:      restore,
	}
}

// A restored is one attachment in the JSON output of restore.
type restored struct {
	Pod         string `json:"pod"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName"`
	Network     string `json:"network"`
	// Result is "ok", "restored", "refused" or "left", if nobody can tell whether it lives;
	// Reason says why it was refused or left.
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"`
}

func restore(s *session) int {
	done, err := s.plugin.Restore(s.conf)
	if err != nil {
		return s.fail(err)
	}
	code, out := OK, []restored{}
	for _, r := range done {
		x := restored{Pod: r.Owner.Pod(), ContainerID: r.Owner.ContainerID, IfName: r.Owner.IfName, Network: r.Owner.Network, Result: r.Result(), Reason: cmp.Or(r.Refused, r.Unsure)}
		if out = append(out, x); x.Reason != "" {
			code = Problem
		}
	}
	if s.output == "json" {
		return max(code, s.json(struct {
			Version     int        `json:"version"`
			Attachments []restored `json:"attachments"`
		}{schema, out}))
	}
	if len(done) == 0 {
		fmt.Fprintln(s.out, "No live pod with hostPorts is known on this node.")
	}
	for _, r := range done {
		fmt.Fprintln(s.out, plain(r.String()))
	}
	return code
}

func gcCommand() command {
	return command{
		name: "gc", short: "removes what dead pods left behind",
		long: `Removes the rules, UDP flows and records of pods whose network namespace is gone,
rules of the portmap plugin for containers that libcni's cache knows to be gone, and
what an ADD held that was killed.
Of an owner that may be alive nothing is touched: where it cannot be told from here,
gc says so. Exit code: 0, or 2 if something
could not be read or removed.`,
		examples: []string{"portguard gc --dry-run", "portguard gc"},
		flags: func(fs *pflag.FlagSet, s *session) {
			fs.BoolVar(&s.dryRun, "dry-run", false, "only say what would be removed")
		},
		run: gc,
	}
}

// A swept is one owner in the JSON output of gc.
type swept struct {
	By          string   `json:"by"`
	Pod         string   `json:"pod"`
	ContainerID string   `json:"containerID"`
	IfName      string   `json:"ifName,omitempty"`
	Network     string   `json:"network"`
	HostPorts   []string `json:"hostPorts"`
}

// An unsure is one owner in it of which nobody can tell whether it lives.
type unsure struct {
	swept
	Reason string `json:"reason"`
}

func gc(s *session) int {
	done, err := s.plugin.Sweep(s.conf.DataDir, s.conf.CacheDir, s.conf.LockTimeout, s.dryRun)
	if err != nil {
		return s.fail(err)
	}
	out, left := []swept{}, []unsure{}
	for _, d := range done {
		if d.Unsure != "" {
			left = append(left, unsure{sweptOf(d), d.Unsure})
			continue
		}
		out = append(out, sweptOf(d))
	}
	if s.output == "json" {
		return s.json(struct {
			Version int      `json:"version"`
			DryRun  bool     `json:"dryRun"`
			Removed []swept  `json:"removed"`
			Left    []unsure `json:"left"`
		}{schema, s.dryRun, out, left})
	}
	if len(done) == 0 {
		fmt.Fprintln(s.out, "Nothing is left of dead pods.")
	}
	verb := map[bool]string{true: "would remove", false: "removed"}[s.dryRun]
	for _, d := range done {
		what := "the record"
		if ports := sweptOf(d).HostPorts; len(ports) > 0 {
			what = "hostPort " + strings.Join(ports, ", ")
		}
		if d.Unsure != "" {
			fmt.Fprintf(s.out, "left %s of %s\n", what, plain(d.Said()))
			continue
		}
		whose := plain(d.Owner.String())
		if d.Killed {
			whose = "an ADD that was killed"
		}
		fmt.Fprintf(s.out, "%s %s of %s (%s)\n", verb, what, whose, d.By)
	}
	return OK
}

func sweptOf(d plugin.Swept) swept {
	x := swept{By: d.By, Pod: d.Owner.Pod(), ContainerID: d.Owner.ContainerID, IfName: d.Owner.IfName, Network: d.Owner.Network, HostPorts: []string{}}
	for _, m := range d.Mappings {
		if p := m.String(); !slices.Contains(x.HostPorts, p) { // it is there in two families
			x.HostPorts = append(x.HostPorts, p)
		}
	}
	if d.Killed { // they are in no order
		slices.Sort(x.HostPorts)
	}
	return x
}
