// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/explain"
	"github.com/portguard/portguard/pkg/hostport"
)

func explainCommand() command {
	return command{
		name: "explain", args: "PORT[/PROTOCOL]", short: "says who has a port, and who gets its packets",
		long: `Says who has a claim on a port, in the order in which the kernel asks them:
Services and NodePorts, other rules with the chains that lead to them, hostPorts,
listeners with process and pod. Then who gets a packet from outside, one from the
node for localhost, and one from a pod, and what keeps it from getting there
(filters, forwarding, rp_filter, routes, the pod's own network), or that nobody in
the pod listens; and what an ADD of that hostPort would do: it is decided by the
same code.

PORT is 80, 192.0.2.1:80 or [2001:db8::1]:80; without a protocol all three are
explained. Exit code: 0 if a new hostPort would be allowed, 1 if not, 2 if the node
could not be read or the port is not one.`,
		examples: []string{"portguard explain 80/tcp", "portguard explain '[2001:db8::1]:53/udp'", "portguard explain 80 -o json"},
		run:      explainPort,
	}
}

func explainPort(s *session) int {
	questions, err := parse(s.args[0])
	if err != nil {
		return s.fail(err)
	}
	var answers []explain.Answer
	code := OK
	for _, q := range questions {
		a, err := s.inspect.Explain(s.conf, q)
		if err != nil {
			return s.fail(err)
		}
		if !a.Decision.Allowed {
			code = Problem
		}
		answers = append(answers, a)
	}
	if s.output == "json" {
		return max(code, s.json(struct {
			Version int              `json:"version"`
			Answers []explain.Answer `json:"answers"`
		}{schema, answers}))
	}
	for i, a := range answers {
		if i > 0 {
			fmt.Fprintln(s.out)
		}
		s.answer(a)
	}
	return code
}

// parse reads a port with an address and a protocol, or without.
func parse(arg string) ([]explain.Question, error) {
	rest, proto, given := strings.Cut(arg, "/")
	q := explain.Question{}
	if i := strings.LastIndex(rest, ":"); i >= 0 {
		a, err := netip.ParseAddrPort(rest[:i] + ":0") // it knows which are in brackets
		if err != nil || a.Addr().Zone() != "" {
			return nil, fmt.Errorf("%q is not an address (want 192.0.2.1:80 or [2001:db8::1]:80)", rest[:i])
		}
		q.HostIP, rest = a.Addr().Unmap(), rest[i+1:]
	}
	n, err := strconv.ParseUint(rest, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%q is not a port (1-65535)", rest)
	}
	q.Port = uint16(n)
	if !given {
		var out []explain.Question
		for _, q.Proto = range []hostport.Proto{hostport.TCP, hostport.UDP, hostport.SCTP} {
			out = append(out, q)
		}
		return out, nil
	}
	if q.Proto, err = hostport.ParseProto(proto); err != nil || proto == "" {
		return nil, fmt.Errorf("%q is not a protocol (want tcp, udp or sctp)", proto)
	}
	return []explain.Question{q}, nil
}

// remedies are those for what closes the ways of packets.
func remedies(a explain.Answer) (out []string) {
	for _, o := range slices.Concat(a.Outside, a.Localhost, a.Pod) {
		if o.Remedy != "" && !slices.Contains(out, o.Remedy) {
			out = append(out, o.Remedy)
		}
	}
	return out
}

// answer prints what is known of one port.
func (s *session) answer(a explain.Answer) {
	if a.Foreign {
		fmt.Fprintf(s.out, "%s is not an address of this node: until it is, its packets are not for a hostPort here.\n", a.HostIP)
	}
	if len(a.Claimants) == 0 && a.Decision.Allowed {
		fmt.Fprintf(s.out, "%s: nobody has a claim on it; a new hostPort would be allowed.\n", a.Question)
		return
	}
	fmt.Fprintf(s.out, "%s\n\n", a.Question)
	effect := map[string]string{"refuses": "refused", "warns": "warning", "none": "left alone"}
	rows := [][]string{{"  #", "WHO", "WHAT", "NEW HOSTPORT", "WHERE"}}
	for i, c := range a.Claimants {
		rows = append(rows, []string{fmt.Sprintf("  %d", i+1), c.Who, c.Kind, effect[c.Effect], cmp.Or(c.Where, "-")})
	}
	if len(a.Claimants) > 0 {
		table(s.out, rows)
		fmt.Fprintln(s.out)
	}
	for _, line := range sentences(a) {
		fmt.Fprintln(s.out, plain(line))
	}
	s.decision(a)
}

// sentences say who gets the packets of each side. To a broadcast or multicast address none
// has a way of its own.
func sentences(a explain.Answer) (out []string) {
	local := "A packet from the node itself to localhost"
	if a.HostIP.IsValid() && !a.HostIP.IsUnspecified() {
		local = "A packet from the node itself"
	}
	if a.Group == "" || a.Foreign || len(a.Outside)+len(a.Localhost)+len(a.Pod) > 0 {
		out = []string{explain.Sentence("A packet from outside", a.Outside), explain.Sentence(local, a.Localhost), explain.Sentence("A packet from a pod on the node", a.Pod)}
	}
	for _, r := range remedies(a) {
		out = append(out, "  remedy: "+r)
	}
	if a.Group != "" {
		out = append(out, a.Group)
	}
	for _, r := range a.RefusedBinds {
		out = append(out, r.String()+".")
	}
	return out
}

// decision says what an ADD would do.
func (s *session) decision(a explain.Answer) {
	if a.Decision.Allowed {
		fmt.Fprintf(s.out, "A new hostPort %s would be allowed.\n", a.Question)
	} else {
		fmt.Fprintf(s.out, "A new hostPort %s would be refused (code %d):\n", a.Question, a.Decision.Code)
	}
	for _, m := range a.Decision.Refusals {
		fmt.Fprintln(s.out, "  "+plain(m))
	}
	for _, m := range a.Decision.Warnings {
		fmt.Fprintln(s.out, "  warning: "+plain(m))
	}
}
