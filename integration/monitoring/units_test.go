// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// A detector is the configuration of a custom plugin of node-problem-detector
// (pkg/custompluginmonitor/types/config.go).
type detector struct {
	Plugin string `json:"plugin"`
	Config struct {
		Interval    string `json:"invoke_interval"`
		Timeout     string `json:"timeout"`
		MaxOutput   int    `json:"max_output_length"`
		Concurrency int    `json:"concurrency"`
		Update      bool   `json:"enable_message_change_based_condition_update"`
	} `json:"pluginConfig"`
	Source     string `json:"source"`
	Metrics    bool   `json:"metricsReporting"`
	Conditions []struct {
		Type    string `json:"type"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"conditions"`
	Rules []struct {
		Type      string   `json:"type"`
		Condition string   `json:"condition"`
		Reason    string   `json:"reason"`
		Path      string   `json:"path"`
		Args      []string `json:"args"`
		Timeout   string   `json:"timeout"`
	} `json:"rules"`
}

// detect runs what node-problem-detector runs, which knows 0 and 1.
func detect(t *testing.T, n *lab.Node, conf string, want int) {
	t.Helper()
	var d detector
	dec := json.NewDecoder(bytes.NewReader(read(t, "node-problem-detector.json")))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.Plugin != "custom" || len(d.Conditions) != 1 || len(d.Rules) != 1 {
		t.Fatalf("%+v", d)
	}
	r := d.Rules[0]
	if r.Type != "permanent" || r.Condition != d.Conditions[0].Type || r.Path != "/opt/cni/bin/portguard" {
		t.Errorf("%+v", r)
	}
	total, err := time.ParseDuration(d.Config.Timeout)
	own, err2 := time.ParseDuration(r.Timeout)
	if err != nil || err2 != nil || own > total { // it refuses to start then
		t.Errorf("timeouts: %q, of the rule %q", d.Config.Timeout, r.Timeout)
	}
	if out, code := command(t, n, conf, r.Args...); code != want {
		t.Errorf("%v: exit code %d, want %d\n%s", r.Args, code, want, out)
	}
}

// systemd can load the units. It wants to find the program.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, u := range []string{"portguard-metrics.service", "portguard-metrics.timer"} {
		unit := bytes.ReplaceAll(read(t, u), []byte("/opt/cni/bin"), []byte(bin))
		if err := os.WriteFile(filepath.Join(dir, u), unit, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, filepath.Join(dir, u))
	}
	// What is only a warning is a spelling mistake here.
	if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || bytes.Contains(out, []byte("portguard-metrics")) {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}
