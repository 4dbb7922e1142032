// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// alerts are those of the rules.
func alerts(t *testing.T) []alert {
	t.Helper()
	var doc struct {
		Groups []struct {
			Name  string  `yaml:"name"`
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.UnmarshalStrict(read(t, "portguard.rules.yml"), &doc); err != nil {
		t.Fatal(err)
	}
	var out []alert
	for _, g := range doc.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

func ruleExpressions(t *testing.T) (out []string) {
	t.Helper()
	for _, a := range alerts(t) {
		out = append(out, a.Expr)
	}
	return out
}

// Prometheus loads the rules, and their tests pass.
func TestRules(t *testing.T) {
	promtool(t, nil, "check", "rules", file(t, "portguard.rules.yml"))
	promtool(t, nil, "test", "rules", file(t, "portguard.rules.test.yml"))
}

// Whoever gets an alert is told the node, a command and where to read on, and each
// alert has a test in which it fires and one in which it does not.
func TestAlerts(t *testing.T) {
	var doc struct {
		Tests []struct {
			Alerts []struct {
				Name string `yaml:"alertname"`
				Exp  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	if err := yaml.Unmarshal(read(t, "portguard.rules.test.yml"), &doc); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range doc.Tests {
		for _, a := range test.Alerts {
			fires[a.Name], quiet[a.Name] = fires[a.Name] || len(a.Exp) > 0, quiet[a.Name] || len(a.Exp) == 0
		}
	}
	readme := string(read(t, "README.md"))
	for _, a := range alerts(t) {
		severity, text := a.Labels["severity"], a.Annotations["description"]
		if severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q", a.Alert, severity)
		}
		if !strings.Contains(a.Annotations["summary"], "{{ $labels.instance }}") || !strings.Contains(text, "{{ $labels.instance }}") {
			t.Errorf("%s does not name the node", a.Alert)
		}
		if !strings.Contains(text, `"portguard `) {
			t.Errorf("%s names no command", a.Alert)
		}
		// That the anchor is there integration/docs knows.
		if !regexp.MustCompile(`/blob/main/(docs/troubleshooting|monitoring/README)\.md#[a-z-]+$`).MatchString(a.Annotations["runbook_url"]) {
			t.Errorf("%s: runbook %q", a.Alert, a.Annotations["runbook_url"])
		}
		if !fires[a.Alert] || !quiet[a.Alert] {
			t.Errorf("%s: a test in which it fires: %v, in which it does not: %v", a.Alert, fires[a.Alert], quiet[a.Alert])
		}
		if !strings.Contains(readme, "| "+a.Alert+" | "+severity+" |") {
			t.Errorf("README.md lacks %s with its severity", a.Alert)
		}
	}
}
