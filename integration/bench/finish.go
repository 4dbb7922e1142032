// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/bench/report"
)

// finish prints the goals and writes the document. Where and goals belong to a
// whole run.
func (b *bench) finish(docs string, whole bool, took time.Duration) {
	if len(b.goals) > 0 {
		fmt.Print(b.goalTable().Text())
	}
	where := b.where(took)
	fmt.Println("\n" + where)
	if docs == "" {
		return
	}
	texts := map[string]string{}
	for _, t := range b.tables {
		texts[t.Name] = t.Markdown()
	}
	if whole {
		texts["where"], texts["goals"] = where, b.goalTable().Markdown()
	}
	if err := report.Update(docs, texts); err != nil {
		b.Fatalf("write the results: %v", err)
	}
	dir := strings.TrimSuffix(docs, filepath.Ext(docs))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatalf("%v", err)
	}
	for name, c := range b.charts {
		if err := os.WriteFile(filepath.Join(dir, strings.ToLower(name)+".svg"), []byte(c.SVG()), 0o644); err != nil {
			b.Fatalf("%v", err)
		}
	}
}

// where says on what the figures were taken.
func (b *bench) where(took time.Duration) string {
	kernel := "unknown"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	return fmt.Sprintf("Taken on %s in %s with `-rounds %d`: Linux %s, %s, %d cores of %s.", time.Now().Format(time.DateOnly),
		took.Round(time.Second), b.rounds, kernel, runtime.Version(), runtime.NumCPU(), processor())
}

// processor is the model's name.
func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
