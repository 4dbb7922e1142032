// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"bytes"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/portguard/portguard/pkg/doctor"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/inventory"
	"github.com/portguard/portguard/pkg/metrics"
	"github.com/portguard/portguard/pkg/state"
)

// again has Prometheus' library read an exposition and write it.
func again(t *testing.T, text string) string {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var b bytes.Buffer
	e := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if err := e.Encode(families[name]); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func node() (inventory.List, []doctor.Finding, state.Counters) {
	entry := func(by, backend, container string, s inventory.State) inventory.Entry {
		return inventory.Entry{By: by, Backend: backend, ContainerID: container, IfName: "eth0", State: s}
	}
	l := inventory.List{
		HostPorts: []inventory.Entry{
			entry("portguard", "nftables", "a", inventory.OK),
			entry("portguard", "nftables", "a", inventory.OK),
			entry("portguard", "nftables", "b", inventory.Shadowed),
			entry("portguard", "iptables-nft", "c", inventory.Missing),
			entry("portguard", "nftables", "d", inventory.Dead),
			entry("portguard", "nftables", "d", inventory.Dead), // its second family
			entry("portmap", "iptables-legacy", "e", inventory.Dead),
		},
		Notes: []string{"a", "b"},
	}
	found := []doctor.Finding{
		{Check: "backend", Severity: doctor.Info},
		{Check: "shadowed", Severity: doctor.Problem},
		{Check: "dead-owner", Severity: doctor.Warning},
		{Check: "dead-owner", Severity: doctor.Warning},
	}
	l.Reservation.On = true
	l.RefusedBinds = []inventory.Refusal{{Port: 8080, Protocol: hostport.TCP, Count: 3}}
	return l, found, state.Counters{
		Refusals:  map[string]uint64{"listener": 3, "nodePort": 1},
		Conflicts: map[string]uint64{"listener": 4},
	}
}

func TestText(t *testing.T) {
	l, found, c := node()
	got := metrics.Text("v1.2.3", l, found, c)
	var samples []string
	for line := range strings.Lines(got) {
		none := strings.Contains(line, "_total{") && strings.HasSuffix(line, "} 0\n")
		if !strings.HasPrefix(line, "#") && !none {
			samples = append(samples, strings.TrimSuffix(line, "\n"))
		}
	}
	want := []string{
		`portguard_build_info{version="v1.2.3"} 1`,
		`portguard_conflicts_total{kind="listener"} 4`,
		`portguard_dead_owners 2`,
		`portguard_doctor_findings{check="dead-owner",severity="warning"} 2`,
		`portguard_doctor_findings{check="shadowed",severity="problem"} 1`,
		`portguard_mappings{backend="iptables-legacy",by="portmap",state="owner dead"} 1`,
		`portguard_mappings{backend="iptables-nft",by="portguard",state="missing"} 1`,
		`portguard_mappings{backend="nftables",by="portguard",state="ok"} 2`,
		`portguard_mappings{backend="nftables",by="portguard",state="owner dead"} 2`,
		`portguard_mappings{backend="nftables",by="portguard",state="shadowed"} 1`,
		`portguard_refusals_total{kind="listener"} 3`,
		`portguard_refusals_total{kind="nodePort"} 1`,
		`portguard_refused_binds_total{port="8080",protocol="tcp"} 3`,
		`portguard_reservation 1`,
		`portguard_shadowed_mappings 1`,
		`portguard_unreadable 2`,
	}
	if d := cmp.Diff(want, samples); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(got, again(t, got)); d != "" {
		t.Errorf("the library writes:\n%s", d)
	}
}

// What says nothing of a node that is in order is still there, so that an alert can
// be told from a metric that is not scraped.
func TestTextOfAnEmptyNode(t *testing.T) {
	got := metrics.Text("v1", inventory.List{}, nil, state.Counters{})
	for _, want := range []string{"portguard_build_info{", "\nportguard_dead_owners 0\n", "\nportguard_reservation 0\n", "\nportguard_shadowed_mappings 0\n", "\nportguard_unreadable 0\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "# TYPE"); n != 7 {
		t.Errorf("%d families:\n%s", n, got)
	}
	if d := cmp.Diff(got, again(t, got)); d != "" {
		t.Errorf("the library writes:\n%s", d)
	}
}

// A counter is there with every kind before its first event, which increase() would not see
// otherwise.
func TestCountersBeginWithZero(t *testing.T) {
	got := metrics.Text("v1", inventory.List{}, nil, state.Counters{})
	for _, reason := range finding.Reasons() {
		if !strings.Contains(got, "\nportguard_refusals_total{kind=\""+reason+"\"} 0\n") {
			t.Errorf("no refusals of kind %s", reason)
		}
	}
	for _, row := range finding.Table() {
		if !strings.Contains(got, "\nportguard_conflicts_total{kind=\""+row.Name+"\"} 0\n") {
			t.Errorf("no conflicts of kind %s", row.Name)
		}
	}
}

// Any value of a label and any number comes back as it was.
func TestTextOfOddValues(t *testing.T) {
	odd := []string{"", " ", `"`, `\`, "\n", `\n`, `\"`, `a"b\c` + "\nd", `\\`, "}", `",x="y`, "# HELP", "Grüße, 世界 🚢", "\u2028", "\t", "\r"}
	numbers := []uint64{0, 1, 9, 10, 999_999, 1_000_000, 1_234_567, 21_000_000, 1 << 53}
	for _, v := range odd {
		for _, n := range numbers {
			c := state.Counters{Refusals: map[string]uint64{v: n}, Conflicts: map[string]uint64{v + "'": n}}
			got := metrics.Text(v, inventory.List{}, []doctor.Finding{{Check: v, Severity: doctor.Problem}}, c)
			if d := cmp.Diff(got, again(t, got)); d != "" {
				t.Fatalf("%q %d: the library writes:\n%s", v, n, d)
			}
			p := expfmt.NewTextParser(model.LegacyValidation)
			families, err := p.TextToMetricFamilies(strings.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			m := families["portguard_refusals_total"].GetMetric()
			m = slices.DeleteFunc(m, func(m *dto.Metric) bool { return slices.Contains(finding.Reasons(), m.GetLabel()[0].GetValue()) })
			if len(m) != 1 || m[0].GetLabel()[0].GetValue() != v || m[0].GetCounter().GetValue() != float64(n) {
				t.Errorf("%q %d: read back as %v", v, n, m)
			}
			if x := families["portguard_build_info"].GetMetric()[0].GetLabel()[0].GetValue(); x != v {
				t.Errorf("%q: read back as %q", v, x)
			}
		}
	}
}

// JSON has the same samples.
func TestJSON(t *testing.T) {
	l, found, c := node()
	doc := metrics.JSON(1, "v1", l, found, c)
	text := metrics.Text("v1", l, found, c)
	lines := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines++
		}
	}
	if doc.Version != 1 || len(doc.Metrics) != lines {
		t.Errorf("version %d, %d samples of %d", doc.Version, len(doc.Metrics), lines)
	}
	for _, m := range doc.Metrics {
		if !strings.Contains(text, "# TYPE "+m.Name+" "+m.Type+"\n") {
			t.Errorf("%+v is not in\n%s", m, text)
		}
	}
	want := metrics.Metric{Name: "portguard_conflicts_total", Type: "counter", Labels: map[string]string{"kind": "listener"}, Value: 4}
	if !slices.ContainsFunc(doc.Metrics, func(m metrics.Metric) bool { return cmp.Equal(m, want) }) {
		t.Errorf("%+v is not in %+v", want, doc.Metrics)
	}
}

// Every call of the plugin would pay for Prometheus' library.
func TestPluginIsWithoutTheLibrary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/portguard/portguard/plugins/meta/portguard").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "github.com/portguard/portguard/pkg/metrics\n") {
		t.Errorf("not the packages of the plugin:\n%s", out)
	}
	for pkg := range strings.Lines(string(out)) {
		if strings.Contains(pkg, "protobuf") || strings.Contains(pkg, "prometheus") {
			t.Errorf("the plugin is linked with %s", pkg)
		}
	}
}
