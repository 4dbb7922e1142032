// SPDX-License-Identifier: Apache-2.0

// Package metrics writes what is known of a node in Prometheus' text format, for
// node-exporter's textfile collector.
//
// The format is written here and not with Prometheus' library, because every call
// of the plugin would pay for that: linked in, expfmt and its protobuf add 0.6 ms
// to the 3 ms that a process takes to start, and 3 MB. The tests read it back
// with the library, and the library writes the same bytes.
package metrics

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/state"
)

// Text is the exposition.
func Text(version string, l inventory.List, found []doctor.Finding, c state.Counters) string {
	var b strings.Builder
	for _, f := range families(version, l, found, c) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.typ)
		for _, v := range f.samples() {
			fmt.Fprintf(&b, "%s%s %s\n", f.name, labels(f.labels, v), number(f.counts[v]))
		}
	}
	return b.String()
}

// A family is one metric.
type family struct {
	name, typ, help string
	labels          []string
	// counts are the samples.
	counts map[values]uint64
}

// values are those of the labels of a sample, in their order.
type values [3]string

func (f family) samples() []values {
	out := slices.Collect(maps.Keys(f.counts))
	sort.Slice(out, func(i, j int) bool { return slices.Compare(out[i][:], out[j][:]) < 0 }) // SortFunc is 10 KB for each type
	return out
}

// labels writes {name="value",...}, escaped as the format asks for.
func labels(names []string, of values) string {
	if len(names) == 0 {
		return ""
	}
	var parts []string
	for i, n := range names {
		parts = append(parts, n+`="`+strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(of[i])+`"`)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// number is as Prometheus' library writes it: 1000000 is 1e+06.
func number(n uint64) string { return strconv.FormatFloat(float64(n), 'g', -1, 64) }

// families are in the order of their names.
func families(version string, l inventory.List, found []doctor.Finding, c state.Counters) []family {
	gauge := func(name, help string, labels ...string) family {
		return family{"portguard_" + name, "gauge", help, labels, map[values]uint64{}}
	}
	build := gauge("build_info", "The version of portguard.", "version")
	build.counts[values{version}] = 1
	conflicts := gauge("conflicts_total", "What ADDs found on the ports they asked for since boot, by kind, whether it was a reason to refuse or not.", "kind")
	refusals := gauge("refusals_total", "ADDs that failed since boot, by the first reason.", "kind")
	conflicts.typ, refusals.typ = "counter", "counter"
	diagnoses := gauge("doctor_findings", "Findings of portguard doctor.", "check", "severity")
	mappings := gauge("mappings", "HostPorts on the node, one for each family.", "backend", "by", "state")
	owners := gauge("dead_owners", "Pods that are gone and have mappings still.")
	shadowed := gauge("shadowed_mappings", "HostPorts on which somebody else has a claim since they were made.")
	binds := gauge("refused_binds_total", "Binds of others to hostPorts that were refused while the pod had the port.", "port", "protocol")
	binds.typ = "counter"
	for _, r := range l.RefusedBinds {
		binds.counts[values{strconv.Itoa(int(r.Port)), r.Protocol.String()}] = r.Count
	}
	reservation := gauge("reservation", "1 if binds of others to hostPorts are refused, otherwise 0.")
	reservation.counts[values{}] = 0
	if l.Reservation.On {
		reservation.counts[values{}] = 1
	}
	unreadable := gauge("unreadable", "Things on the node that could not be read.")
	count(conflicts, refusals, c)
	for _, f := range found {
		if f.Severity != doctor.Info {
			diagnoses.counts[values{f.Check, string(f.Severity)}]++
		}
	}
	for _, e := range l.HostPorts {
		mappings.counts[values{e.Backend, e.By, string(e.State)}]++
	}
	owners.counts[values{}] = deadOwners(l)
	shadowed.counts[values{}] = shadows(l)
	unreadable.counts[values{}] = uint64(len(l.Notes))
	all := []family{build, conflicts, owners, diagnoses, mappings, refusals, binds, reservation, shadowed, unreadable}
	return slices.DeleteFunc(all, func(f family) bool { return len(f.counts) == 0 })
}

// count fills in what was found and refused. All begin with 0: increase() does not see the
// first of a series that was not there.
func count(conflicts, refusals family, c state.Counters) {
	for _, row := range finding.Table() {
		conflicts.counts[values{row.Name}] = 0
	}
	for _, reason := range finding.Reasons() {
		refusals.counts[values{reason}] = 0
	}
	for kind, n := range c.Conflicts {
		conflicts.counts[values{kind}] = n
	}
	for kind, n := range c.Refusals {
		refusals.counts[values{kind}] = n
	}
}

// deadOwners is how many pods that are gone have mappings.
func deadOwners(l inventory.List) uint64 {
	dead := map[hostport.Key]bool{}
	for _, e := range l.HostPorts {
		if e.State == inventory.Dead {
			dead[hostport.Owner{ContainerID: e.ContainerID, IfName: e.IfName}.Key()] = true
		}
	}
	return uint64(len(dead))
}

// shadows is how many hostPorts somebody else has a claim on.
func shadows(l inventory.List) (n uint64) {
	for _, e := range l.HostPorts {
		if e.State == inventory.Shadowed {
			n++
		}
	}
	return n
}

// A Document is the JSON output of "portguard metrics".
type Document struct {
	Version int      `json:"version"`
	Metrics []Metric `json:"metrics"`
}

// A Metric is one sample.
type Metric struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"`
	Labels map[string]string `json:"labels,omitempty"`
	Value  uint64            `json:"value"`
}

// JSON is the exposition as JSON.
func JSON(schema int, version string, l inventory.List, found []doctor.Finding, c state.Counters) Document {
	out := Document{Version: schema}
	for _, f := range families(version, l, found, c) {
		for _, v := range f.samples() {
			m := Metric{Name: f.name, Type: f.typ, Value: f.counts[v], Labels: map[string]string{}}
			for i, n := range f.labels {
				m.Labels[n] = v[i]
			}
			out.Metrics = append(out.Metrics, m)
		}
	}
	return out
}
