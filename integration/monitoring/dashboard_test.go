// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// A dashboard is what is looked at of Grafana's schema.
type dashboard struct {
	SchemaVersion int    `json:"schemaVersion"`
	UID           string `json:"uid"`
	Title         string `json:"title"`
	Templating    struct {
		List []struct {
			Name       string     `json:"name"`
			Type       string     `json:"type"`
			Definition string     `json:"definition"`
			Datasource datasource `json:"datasource"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID         int                      `json:"id"`
	Type       string                   `json:"type"`
	Title      string                   `json:"title"`
	Datasource datasource               `json:"datasource"`
	GridPos    struct{ X, Y, W, H int } `json:"gridPos"`
	Targets    []struct {
		RefID      string     `json:"refId"`
		Expr       string     `json:"expr"`
		Datasource datasource `json:"datasource"`
	} `json:"targets"`
}

type datasource struct{ Type, UID string }

func loadDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal(read(t, "grafana-dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// dashboardExpressions are those of the panels, with Grafana's variables filled in.
func dashboardExpressions(t *testing.T) (out []string) {
	t.Helper()
	d := loadDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			out = append(out, strings.NewReplacer("$__rate_interval", "5m", "$instance", "a|b").Replace(target.Expr))
		}
	}
	for _, v := range d.Templating.List {
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			out = append(out, fmt.Sprintf("count by (%s) (%s)", m[2], m[1]))
		}
	}
	return out
}

// The dashboard has the variables that its panels use, every panel has an ID and a
// place of its own, and Prometheus can read every expression.
func TestDashboard(t *testing.T) {
	d := loadDashboard(t)
	if d.SchemaVersion < 38 || d.UID == "" || d.Title == "" {
		t.Errorf("schemaVersion %d, uid %q, title %q", d.SchemaVersion, d.UID, d.Title)
	}
	chosen := datasource{"prometheus", "${datasource}"}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
		if v.Type == "query" && v.Datasource != chosen {
			t.Errorf("variable %s: data source %v", v.Name, v.Datasource)
		}
	}
	if variables["datasource"] != "datasource" || variables["instance"] != "query" {
		t.Errorf("variables %v", variables)
	}
	ids := map[int]string{}
	for i, p := range d.Panels {
		if ids[p.ID] != "" || p.ID == 0 {
			t.Errorf("%s and %s have the id %d", p.Title, ids[p.ID], p.ID)
		}
		ids[p.ID] = p.Title
		if p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d: title %q, %d targets", p.ID, p.Title, len(p.Targets))
		}
		g := p.GridPos
		if g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
			t.Errorf("%s is outside the grid: %+v", p.Title, g)
		}
		for _, o := range d.Panels[:i] {
			if q := o.GridPos; g.X < q.X+q.W && q.X < g.X+g.W && g.Y < q.Y+q.H && q.Y < g.Y+g.H {
				t.Errorf("%s and %s overlap", p.Title, o.Title)
			}
		}
		sources(t, p, chosen)
	}
	loads(t)
}

// sources: every query asks the data source that was chosen, for the nodes that were.
func sources(t *testing.T, p panel, want datasource) {
	t.Helper()
	if p.Datasource != want {
		t.Errorf("%s: data source %v", p.Title, p.Datasource)
	}
	refs := map[string]bool{}
	for _, target := range p.Targets {
		if target.Datasource != want || refs[target.RefID] {
			t.Errorf("%s: refId %q, data source %v", p.Title, target.RefID, target.Datasource)
		}
		refs[target.RefID] = true
		if !strings.Contains(target.Expr, `instance=~"$instance"`) {
			t.Errorf("%s: not of the chosen nodes: %s", p.Title, target.Expr)
		}
	}
}

// loads has promtool read the expressions, as rules.
func loads(t *testing.T) {
	t.Helper()
	var rules []any
	for i, e := range dashboardExpressions(t) {
		rules = append(rules, map[string]any{"record": fmt.Sprintf("panel:%d", i), "expr": e})
	}
	b, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, nil, "check", "rules", write(t, "dashboard.yml", b))
}
