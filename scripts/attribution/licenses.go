// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// A component is a module that is linked in, or Go's standard library.
type component struct {
	path, version, sum string
	license            string // as SPDX calls it
	texts              []string
}

// components are those of a program, with what their licence files say.
func components(info *debug.BuildInfo) ([]component, error) {
	dirs, err := packageDirs(info.Path)
	if err != nil {
		return nil, err
	}
	root, err := exec.Command(cmp.Or(os.Getenv("GO"), "go"), "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	std := component{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}
	if std.texts, err = licenseFiles([]string{strings.TrimSpace(string(root))}); err != nil {
		return nil, err
	}
	out := []component{std}
	for _, d := range info.Deps {
		from := d
		if d.Replace != nil {
			from = d.Replace
		}
		c := component{path: d.Path, version: from.Version, sum: from.Sum}
		if c.texts, err = licenseFiles(dirs[d.Path]); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	for i, c := range out {
		if out[i].license = spdxID(strings.Join(c.texts, "\n")); out[i].license == "" {
			return nil, fmt.Errorf("%s %s: no licence that is known here in %d files; teach spdxID", c.path, c.version, len(c.texts))
		}
	}
	return out, nil
}

// packageDirs are the directories of the packages that a program imports, and those
// above them, by module. They are in the module cache or in vendor/.
func packageDirs(program string) (map[string][]string, error) {
	list := exec.Command(cmp.Or(os.Getenv("GO"), "go"), "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{$.ImportPath}}\t{{$.Dir}}{{end}}", program)
	list.Stderr = os.Stderr
	text, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			continue
		}
		dir := f[2]
		for p := f[1]; ; p, dir = filepath.Dir(p), filepath.Dir(dir) {
			if !slices.Contains(out[f[0]], dir) {
				out[f[0]] = append(out[f[0]], dir)
			}
			if p == f[0] {
				break
			}
		}
	}
	return out, nil
}

// licenseFiles are the texts of the licences and notices in directories.
func licenseFiles(dirs []string) (out []string, err error) {
	for _, dir := range dirs {
		for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					return nil, err
				}
				out = append(out, strings.TrimSpace(string(b)))
			}
		}
	}
	return out, nil
}

// spdxID is what SPDX calls a licence, or nothing if it is none of these.
func spdxID(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("Apache License Version 2.0"):
		return "Apache-2.0"
	case has("Permission is hereby granted, free of charge"):
		return "MIT"
	case has("Permission to use, copy, modify, and/or distribute this software"), has("Permission to use, copy, modify, and distribute this software"):
		return "ISC"
	case has("Redistribution and use in source and binary forms") && has("Neither the name"):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	}
	return ""
}

// texts is the file that goes with the program. A text that several have is there once.
func texts(all []component) string {
	var b strings.Builder
	b.WriteString("Linked into the plugin portguard, besides its own code (Apache-2.0, LICENSE):\n\n")
	for _, c := range all {
		fmt.Fprintf(&b, "  %s %s  %s\n", c.name(), c.version, c.license)
	}
	users := map[string][]string{}
	var order []string
	for _, c := range all {
		for _, text := range c.texts {
			if users[text] == nil {
				order = append(order, text)
			}
			users[text] = append(users[text], c.name())
		}
	}
	for _, text := range order {
		fmt.Fprintf(&b, "\n%s\n%s\n\n%s\n", strings.Repeat("-", 78), strings.Join(users[text], ", "), text)
	}
	return b.String()
}

func (c component) name() string {
	return cmp.Or(map[string]string{"std": "Go's standard library"}[c.path], c.path)
}
