// SPDX-License-Identifier: Apache-2.0

// Package golden keeps the messages of packages in testdata/messages.golden, for tests.
package golden

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

// file is where the messages of the package under test are.
const file = "testdata/messages.golden"

// Messages are what a package can say, in sections by what went wrong.
type Messages struct {
	t     testing.TB
	hide  *strings.Replacer
	lines []string
}

// New returns none. Hide has pairs of what differs from run to run and what to write
// instead.
func New(t testing.TB, hide ...string) *Messages {
	return &Messages{t: t, hide: strings.NewReplacer(hide...)}
}

// Section begins one.
func (m *Messages) Section(title string) {
	if len(m.lines) > 0 {
		m.lines = append(m.lines, "")
	}
	m.lines = append(m.lines, "# "+title)
}

// Add adds a message under its code, or "warning". One that is no plain line of
// reasonable length, or none at all, is a failure.
func (m *Messages) Add(code, msg string) {
	m.t.Helper()
	if msg == "" || hostport.Line(msg) != msg {
		m.t.Errorf("%s: %q is not one plain line of reasonable length", code, msg)
	}
	if line := code + ": " + m.hide.Replace(msg); !slices.Contains(m.lines, line) {
		m.lines = append(m.lines, line)
	}
}

// AddError adds what an error says, in one line as the plugin prints it. None is a
// failure.
func (m *Messages) AddError(code string, err error) {
	m.t.Helper()
	if err == nil {
		m.t.Errorf("%s: there is no error", code)
		return
	}
	m.Add(code, hostport.Line(err.Error()))
}

// Check compares with the file, or writes it.
func (m *Messages) Check(update bool) {
	m.t.Helper()
	got := strings.Join(m.lines, "\n") + "\n"
	if update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		m.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		m.t.Errorf("%s, rewrite with -update if it is meant (-want +got)\n%s", file, diff)
	}
}
