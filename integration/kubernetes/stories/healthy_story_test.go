// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"testing"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// On a healthy node no command says a false word.
func TestHealthyNode(t *testing.T) {
	s := begin(t)
	s.run("web", spec("7600", "7600/udp", "127.0.0.1:7601"))
	s.run("backend", spec())
	s.nodePort("shop", "backend", 30076)
	s.nodePort("empty", "nobody", 30077)
	s.answers(node.V4+":30076", "backend")

	if found, fit := s.findings(); !fit || len(found) != 0 {
		t.Errorf("doctor: fit %v, %v", fit, found)
	}
	listed := s.list()
	want(t, "lines of list", len(listed), 5) // two of both families, and 127.0.0.1
	for _, e := range listed {
		if e.State != "ok" || e.Pod != s.ns+"/web" || e.By != "portguard" {
			t.Errorf("list: %+v", e)
		}
	}
	s.explains()
	s.counts()
}

// explains asks explain of ports whose receiver is known, and compares with traffic.
func (s *story) explains() {
	s.Helper()
	for _, c := range []struct {
		question string
		gets     string
		answers  string
		allowed  bool
	}{
		{"7600/tcp", "pod " + s.ns + "/web", "web", false},
		{"30076/tcp", "Service " + s.ns + "/shop", "backend", false},
		{"30077/tcp", "", "", false},
		{"7699/tcp", "", "", true},
	} {
		var e struct {
			Answers []struct {
				Outside  []struct{ Gets, Closed string }
				Decision struct{ Allowed bool }
			}
		}
		s.ask(&e, "explain", node.V4+":"+c.question)
		if len(e.Answers) != 1 {
			s.Fatalf("explain %s: %+v", c.question, e)
		}
		want(s, "explain "+c.question+": allowed", e.Answers[0].Decision.Allowed, c.allowed)
		for _, o := range e.Answers[0].Outside {
			if c.gets != "" {
				says(s, "explain "+c.question, o.Gets, c.gets)
			}
			want(s, "explain "+c.question+": what closes the way", o.Closed, "")
		}
		port := c.question[:len(c.question)-len("/tcp")]
		want(s, port, s.name(client, "tcp", node.V4+":"+port), c.answers)
	}
}

// counts asks the metrics.
func (s *story) counts() {
	s.Helper()
	var m struct {
		Metrics []struct {
			Name   string
			Labels map[string]string
			Value  int
		}
	}
	s.ask(&m, "metrics")
	for _, sample := range m.Metrics {
		switch sample.Name {
		case "portguard_mappings":
			want(s, fmt.Sprint(sample.Name, sample.Labels), sample.Value, 5)
			want(s, "state", sample.Labels["state"], "ok")
		case "portguard_dead_owners", "portguard_shadowed_mappings", "portguard_unreadable", "portguard_doctor_findings":
			want(s, fmt.Sprint(sample.Name, sample.Labels), sample.Value, 0)
		}
	}
}

// A finding is one of doctor's.
type finding struct{ Check, Severity, Message string }

// findings are doctor's that are no mere information, and whether the node is fit.
func (s *story) findings() (found []finding, fit bool) {
	s.Helper()
	var doctor struct {
		Fit      bool
		Findings []finding
	}
	s.ask(&doctor, "doctor")
	for _, f := range doctor.Findings {
		if f.Severity != "info" {
			found = append(found, f)
		}
	}
	return found, doctor.Fit
}
