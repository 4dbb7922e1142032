// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/portguard/portguard/pkg/confdir"
	"github.com/portguard/portguard/pkg/doctor"
)

func doctorCommand() command {
	return command{
		name: "doctor", short: "says whether this node is fit for hostPorts",
		long: `Looks for what keeps hostPorts from working, each with its remedy: conflists
without portguard or without the capability, two implementers on one node, mappings
that lost their rules or whose port somebody took later, dead owners, forwarding
that is off, filters that drop the traffic, ports inside the ephemeral range.

Exit code: 0 if the node is fit (there may be warnings), 1 if there are problems, 2
if it could not be read: as a custom plugin of node-problem-detector.`,
		examples: []string{"portguard doctor", "portguard doctor -o json | jq -r '.findings[] | select(.severity == \"problem\") | .message'"},
		run:      diagnose,
	}
}

// diagnosis is what doctor finds.
func (s *session) diagnosis() ([]doctor.Finding, doctor.Facts, error) {
	f, err := s.inspect.Facts(s.conf)
	if err != nil {
		return nil, f, err
	}
	f.ConfDir = s.confDir
	f.Lists, f.ConfErr = confdir.Read(s.confDir)
	return doctor.Diagnose(f), f, nil
}

func diagnose(s *session) int {
	found, _, err := s.diagnosis()
	if err != nil {
		return s.fail(err)
	}
	code := OK
	if !doctor.Fit(found) {
		code = Problem
	}
	if s.output == "json" {
		return max(code, s.json(struct {
			Version  int              `json:"version"`
			Fit      bool             `json:"fit"`
			Findings []doctor.Finding `json:"findings"`
		}{schema, code == OK, found}))
	}
	count := map[doctor.Severity]int{}
	for _, sev := range []doctor.Severity{doctor.Problem, doctor.Warning, doctor.Info} {
		for _, f := range found {
			if f.Severity != sev {
				continue
			}
			count[sev]++
			fmt.Fprintf(s.out, "%-8s %-13s %s\n", strings.ToUpper(string(sev)), f.Check, plain(f.Message))
			if f.Remedy != "" {
				fmt.Fprintf(s.out, "%22s remedy: %s\n", "", plain(f.Remedy))
			}
		}
	}
	verdict := "The node is fit for hostPorts"
	if code != OK {
		verdict = "The node is not fit for hostPorts"
	}
	fmt.Fprintf(s.out, "\n%s: %s, %s.\n", verdict, number(count[doctor.Problem], "problem"), number(count[doctor.Warning], "warning"))
	return code
}

// number counts things.
func number(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
