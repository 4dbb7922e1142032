// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

func TestParseGC(t *testing.T) {
	one := hostport.Owner{ContainerID: "a", IfName: "eth0"}.Key()
	for _, tt := range []struct {
		name, in string
		given    bool
		valid    []string
		field    string
	}{
		{"a list", `{"name":"n","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}`, true, []string{one}, ""},
		{"an empty list means that none is valid", `{"name":"n","cni.dev/valid-attachments":[]}`, true, nil, ""},
		{"null says nothing: nobody set the list", `{"name":"n","cni.dev/valid-attachments":null}`, false, nil, ""},
		{"no list says nothing", `{"name":"n"}`, false, nil, ""},
		{"the name must be there", `{"cni.dev/valid-attachments":[]}`, false, nil, "name"},
		{"it must be a list", `{"name":"n","cni.dev/valid-attachments":{}}`, true, nil, "cni.dev/valid-attachments"},
		{"an entry must be whole", `{"name":"n","cni.dev/valid-attachments":[{"containerID":"a"}]}`, true, nil, "cni.dev/valid-attachments[0]"},
		{"an entry must be text", `{"name":"n","cni.dev/valid-attachments":[{"containerID":1,"ifname":"eth0"}]}`, true, nil, "cni.dev/valid-attachments.containerID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := ParseGC([]byte(tt.in))
			var fe *FieldError
			if tt.field != "" {
				if !errors.As(err, &fe) || fe.Field != tt.field {
					t.Errorf("error is %v, want field %s", err, tt.field)
				}
				return
			}
			if d := cmp.Diff(tt.valid, g.Valid); err != nil || g.Given != tt.given || g.Name != "n" || d != "" {
				t.Errorf("got %+v, %v %s", g, err, d)
			}
		})
	}
	if _, err := ParseGC([]byte(`{`)); err == nil {
		t.Error("broken JSON is no error")
	}
}

func FuzzParseGC(f *testing.F) {
	f.Add([]byte(`{"name":"n","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		g, err := ParseGC(in)
		if err == nil && (g.Name == "" || len(g.Valid) > 0 && !g.Given) {
			t.Errorf("%+v", g)
		}
	})
}
