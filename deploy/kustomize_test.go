// SPDX-License-Identifier: Apache-2.0

// Package deploy tests what is in this folder.
package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// A daemonSet is what the tests ask of one.
type daemonSet struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name, Namespace string
	} `json:"metadata"`
	Spec struct {
		UpdateStrategy struct {
			RollingUpdate struct {
				MaxUnavailable any `json:"maxUnavailable"`
			} `json:"rollingUpdate"`
		} `json:"updateStrategy"`
		Template struct {
			Spec struct {
				HostNetwork, HostPID       bool
				InitContainers, Containers []container
				Volumes                    []struct {
					Name     string
					HostPath struct{ Path string } `json:"hostPath"`
				}
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type container struct {
	Name, Image     string
	Args            []string
	SecurityContext struct{ Privileged bool }
	VolumeMounts    []struct{ Name, MountPath string }
}

// build is the DaemonSet of a kustomization.
func build(t *testing.T, dir string) daemonSet {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	var d daemonSet
	var kinds []string
	for text := range strings.SplitSeq(string(b), "\n---\n") {
		var o daemonSet
		if err := yaml.Unmarshal([]byte(text), &o); err != nil || o.Metadata.Namespace != "kube-system" {
			t.Fatalf("%s: %v\n%s", dir, err, text)
		}
		if kinds = append(kinds, o.Kind); o.Kind == "DaemonSet" {
			d = o
		}
	}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{"DaemonSet", "Role", "RoleBinding", "ServiceAccount"}) {
		t.Fatalf("%s has %v", dir, kinds)
	}
	return d
}

// Each overlay is the base with other folders, and its remove differs in what is run.
func TestOverlays(t *testing.T) {
	want := map[string][2]string{
		"opt-cni-bin": {"/opt/cni/bin", "/etc/cni/net.d"},
		"usr-lib-cni": {"/usr/lib/cni", "/etc/cni/net.d"},
		"k3s":         {"/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/agent/etc/cni/net.d"},
		"microk8s":    {"/var/snap/microk8s/current/opt/cni/bin", "/var/snap/microk8s/current/args/cni-network"},
	}
	dirs, err := filepath.Glob("overlays/*")
	if err != nil || len(dirs) != len(want) {
		t.Fatalf("%v, %v", dirs, err)
	}
	for _, dir := range dirs {
		d := build(t, dir+"/install")
		paths := map[string]string{}
		for _, v := range d.Spec.Template.Spec.Volumes {
			paths[v.Name] = v.HostPath.Path
		}
		folders := want[filepath.Base(dir)]
		if len(paths) != 2 || paths["bin"] != folders[0] || paths["conf"] != folders[1] {
			t.Errorf("%s: %v", dir, paths)
		}
		r := build(t, dir+"/remove")
		if got := commands(r); !slices.Equal(got, []string{"remove", "rest"}) || r.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable != "100%" {
			t.Errorf("%s/remove: %v, %v", dir, got, r.Spec.UpdateStrategy)
		}
		// But for that they are the same.
		for _, s := range []*daemonSet{&d, &r} {
			s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = nil
			s.Spec.Template.Spec.InitContainers[0].Args, s.Spec.Template.Spec.Containers[0].Args = nil, nil
		}
		if a, b := text(t, d), text(t, r); a != b {
			t.Errorf("%s\nand its remove\n%s", a, b)
		}
	}
}

// commands are what the init container and the container run.
func commands(d daemonSet) (out []string) {
	for _, c := range slices.Concat(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers) {
		out = append(out, c.Args[0])
	}
	return out
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What the containers mount is where the programs look, and both protect the ports of the
// conflists that we ship.
func TestContainers(t *testing.T) {
	d := build(t, "base")
	if got := commands(d); !slices.Equal(got, []string{"install", "keep"}) || d.Metadata.Namespace != "kube-system" || !d.Spec.Template.Spec.HostNetwork || !d.Spec.Template.Spec.HostPID {
		t.Errorf("%v of %+v", got, d.Metadata)
	}
	b, err := os.ReadFile("../conflist/10-bridge.conflist")
	if err != nil {
		t.Fatal(err)
	}
	shipped := regexp.MustCompile(`"protectedPorts": \[(.*)\]`).FindSubmatch(b)
	ports := "--protected-ports=" + strings.NewReplacer(`"`, "", " ", "").Replace(string(shipped[1]))
	for _, c := range slices.Concat(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers) {
		mounts := map[string]string{}
		for _, m := range c.VolumeMounts {
			mounts[m.Name] = m.MountPath
		}
		if mounts["bin"] != "/host/bin" || mounts["conf"] != "/host/conf" || len(mounts) != 2 {
			t.Errorf("%s: %v", c.Name, mounts)
		}
		args := []string{"--mounts=/proc/1/ns/mnt", ports}
		if c.Name == "keep" {
			args = append([]string{"--daemonset=" + d.Metadata.Name}, args...)
		}
		if !slices.Equal(c.Args[1:], args) || !c.SecurityContext.Privileged || c.Image != "portguard/portguard:latest" {
			t.Errorf("%+v; want %s", c, ports)
		}
	}
}
