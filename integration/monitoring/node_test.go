// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/portguard/portguard/integration/lab"
)

// A node with one mapping in order alerts nobody; one with a refusal, a shadowed
// mapping, a dead owner and lost rules alerts for just that, from what "portguard
// metrics" writes there.
func TestRealMetrics(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	n.Backend = "nftables"
	list := n.Network("net", "46", nil)
	conf := filepath.Join(n.Dir, "net.d")
	if err := os.Mkdir(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	n.MustAdd(n.NewPod("web"), list, lab.TCP(8080, 80))
	check(t, measure(t, n, conf), nil)
	detect(t, n, conf, 0)

	if _, err := n.Add(n.NewPod("second"), list, lab.TCP(8080, 80)); err == nil {
		t.Error("a second pod got port 8080")
	}
	n.MustAdd(n.NewPod("shadowed"), n.Network("net", "46", lab.Conf{"reserve": "off"}), lab.TCP(8081, 80))
	defer n.ServeTCP("tcp", ":8081", "nginx").Close()
	dead := n.NewPod("dead")
	n.MustAdd(dead, list, lab.TCP(8082, 80))
	dead.Delete()
	n.MustAdd(n.NewPod("lost"), list, lab.TCP(8083, 80))
	n.Run("nft", "delete element inet portguard ports4 { tcp . 8083 }")
	if err := n.Bind(lab.Socket{Network: "tcp4"}, 8080); err == nil {
		t.Error("a process got port 8080")
	}
	text := measure(t, n, conf)
	check(t, text, []string{"PortguardDeadOwners", "PortguardMappingsMissing", "PortguardMappingsShadowed", "PortguardRefusals"})
	detect(t, n, conf, 1)
	t.Run("names", func(t *testing.T) { names(t, text) })
	t.Run("documented", func(t *testing.T) { documented(t, n, conf) })
}

// command runs portguard on the node, and returns its stdout and its exit code. Its
// stderr may say that it takes a while.
func command(t *testing.T, n *lab.Node, conf string, args ...string) (string, int) {
	t.Helper()
	args = append([]string{filepath.Join(n.Bin, "portguard"), args[0], "--conf-dir", conf, "--cache-dir", filepath.Join(n.Dir, "cache")}, args[1:]...)
	var out []byte
	var err error
	n.Do(func() { out, err = n.Command(args...).Output() })
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Logf("%v: %v\n%s", args, err, exit.Stderr)
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out), 0
}

// measure has the textfile written, by the command of the systemd service.
func measure(t *testing.T, n *lab.Node, conf string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ExecStart=/opt/cni/bin/portguard (.*) /var/lib/node_exporter/textfile_collector/(.*)$`).
		FindStringSubmatch(string(read(t, "portguard-metrics.service")))
	if m == nil {
		t.Fatal("portguard-metrics.service starts something else")
	}
	path := filepath.Join(n.Dir, m[2])
	if out, code := command(t, n, conf, append(strings.Fields(m[1]), path)...); code != 0 {
		t.Fatalf("%s: exit code %d\n%s", m[0], code, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// check has promtool look at the metrics, and at which alerts fire on them.
func check(t *testing.T, text string, alerts []string) {
	t.Helper()
	promtool(t, []byte(text), "check", "metrics")
	var series []any
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := cutLast(line)
		if !ok {
			t.Fatalf("not a sample: %q", line)
		}
		values := value + "x75"
		if strings.HasPrefix(name, "portguard_refusals_total") { // its first one comes later
			values = "0x45 " + value + "x30"
		}
		if !strings.Contains(name, "{") {
			name += "{}"
		}
		name = strings.Replace(strings.Replace(name, "{", `{instance="lab",`, 1), ",}", "}", 1)
		series = append(series, map[string]any{"series": name, "values": values})
	}
	firing := []any{}
	for _, a := range alerts {
		firing = append(firing, map[string]any{"labels": fmt.Sprintf("{alertname=%q}", a), "value": 1})
	}
	b, err := yaml.Marshal(map[string]any{
		"rule_files": []string{file(t, "portguard.rules.yml")}, "evaluation_interval": "1m",
		"tests": []any{map[string]any{
			"interval": "1m", "input_series": series,
			"promql_expr_test": []any{map[string]any{
				"expr": `count by (alertname) (ALERTS{alertstate="firing"})`, "eval_time": "55m", "exp_samples": firing,
			}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, nil, "test", "rules", write(t, "test.yml", b))
	if t.Failed() {
		t.Logf("the metrics were:\n%s", text)
	}
}

// cutLast cuts a sample before its value.
func cutLast(line string) (name, value string, ok bool) {
	i := strings.LastIndex(line, " ")
	if i < 0 {
		return line, "", false
	}
	return line[:i], line[i+1:], true
}

// names checks the names in the rules and in the dashboard against the metrics of
// a node on which all have values.
func names(t *testing.T, text string) {
	metrics := []string{"node_textfile_mtime_seconds", "node_textfile_scrape_error"}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(text, -1) {
		metrics = append(metrics, m[1])
	}
	labels := []string{"instance", "file"}
	for _, m := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(text, -1) {
		labels = append(labels, m[1])
	}
	expressions := slices.Concat(ruleExpressions(t), dashboardExpressions(t))
	if len(expressions) < 20 {
		t.Errorf("only %d expressions are found", len(expressions))
	}
	used := map[string]bool{}
	for _, e := range expressions {
		ms, ls := identifiers(e)
		if len(ms) == 0 {
			t.Errorf("no metric is found in %s", e)
		}
		for _, m := range ms {
			used[m] = true
			if !slices.Contains(metrics, m) {
				t.Errorf("nobody has the metric %s in %s", m, e)
			}
		}
		for _, l := range ls {
			if !slices.Contains(labels, l) {
				t.Errorf("no metric has the label %s in %s", l, e)
			}
		}
	}
	for _, m := range metrics {
		if !used[m] {
			t.Errorf("%s is in no alert and no panel", m)
		}
	}
}
