// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseTeardown(t *testing.T) {
	const dir, wait = DefaultDataDir, DefaultLockTimeout
	for _, tt := range []struct {
		name, in string
		want     Teardown
	}{
		{"nothing at all has the defaults and may have had ports", ``, Teardown{"", dir, wait, true}},
		{"broken JSON has the defaults and may have had ports", `{"name":"n",`, Teardown{"", dir, wait, true}},
		{"a list has the defaults", `[1]`, Teardown{"", dir, wait, false}},
		{"null has the defaults", `null`, Teardown{"", dir, wait, false}},
		{"an empty object has the defaults", `{}`, Teardown{"", dir, wait, false}},
		{"valid values are taken", `{"name":"n","dataDir":"/a//b","lockTimeout":"3s"}`, Teardown{"n", "/a/b", 3 * time.Second, false}},
		{"values of wrong types are defaults", `{"name":1,"dataDir":{},"lockTimeout":5}`, Teardown{"", dir, wait, false}},
		{"one wrong value does not spoil the others", `{"name":[],"dataDir":"/x","snat":"?"}`, Teardown{"", "/x", wait, false}},
		{"a relative path is the default", `{"dataDir":"x"}`, Teardown{"", dir, wait, false}},
		{"the root is the default", `{"dataDir":"/.."}`, Teardown{"", dir, wait, false}},
		{"a negative timeout is the default", `{"lockTimeout":"-1s"}`, Teardown{"", dir, wait, false}},
		{"an unreadable timeout is the default", `{"lockTimeout":"soon"}`, Teardown{"", dir, wait, false}},
		{"ports are seen", `{"runtimeConfig":{"portMappings":[{"hostPort":1}]}}`, Teardown{"", dir, wait, true}},
		{"a malformed port is a port", `{"runtimeConfig":{"portMappings":["x"]}}`, Teardown{"", dir, wait, true}},
		{"malformed portMappings may be ports", `{"runtimeConfig":{"portMappings":"x"}}`, Teardown{"", dir, wait, true}},
		{"a malformed runtimeConfig may hold ports", `{"runtimeConfig":7}`, Teardown{"", dir, wait, true}},
		{"an empty list has no ports", `{"runtimeConfig":{"portMappings":[ ]}}`, Teardown{"", dir, wait, false}},
		{"null has no ports", `{"runtimeConfig":{"portMappings":null}}`, Teardown{"", dir, wait, false}},
		{"a null runtimeConfig has no ports", `{"runtimeConfig":null}`, Teardown{"", dir, wait, false}},
		{"a wrong field elsewhere does not hide ports", `{"conditionsV4":7,"runtimeConfig":{"portMappings":[1]}}`, Teardown{"", dir, wait, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, ParseTeardown([]byte(tt.in))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What ADD accepts, DEL must read the same way, or it would look elsewhere.
func FuzzParseTeardown(f *testing.F) {
	f.Add([]byte(`{"name":"n","dataDir":"/a","lockTimeout":"1s","runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":2}]}}`))
	f.Add([]byte(`{"dataDir":7,"runtimeConfig":[]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := ParseTeardown(in)
		if d.LockTimeout <= 0 || !filepath.IsAbs(d.DataDir) || d.DataDir == "/" {
			t.Fatalf("%+v", d)
		}
		c, err := Parse(in)
		if err != nil {
			return
		}
		want := Teardown{Name: c.Name, DataDir: c.DataDir, LockTimeout: c.LockTimeout, HasPorts: len(c.Ports) > 0}
		if diff := cmp.Diff(want, d); diff != "" {
			t.Errorf("ADD and DEL differ (-want +got)\n%s", diff)
		}
	})
}
