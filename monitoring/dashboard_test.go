// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests what is in this folder.
package monitoring

import (
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The dashboard has what Grafana's schema wants, with those of its panels and of
// Prometheus' queries, and nothing that they do not know.
func TestDashboardSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text, err := os.ReadFile("grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard.Dashboard
	// The library answers with an empty list of errors if there are none.
	if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		t.Error(err)
	}
	if len(d.Panels) < 10 {
		t.Errorf("%d panels", len(d.Panels))
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}
