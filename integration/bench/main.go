// SPDX-License-Identifier: Apache-2.0

// Command bench measures what portguard costs, side by side with portmap and with
// a plugin that does nothing, on nodes made of network namespaces: whole ADDs and
// DELs, processes, memory, and the way of packets. docs/benchmarks.md says what
// is measured and how; with -docs its tables and pictures are written anew.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/portguard/portguard/integration/bench/load"
	"github.com/portguard/portguard/integration/lab"
)

// A scenario is one part of the benchmark.
type scenario struct {
	name string
	run  func(*bench)
}

func scenarios() []scenario {
	return []scenario{{"verbs", verbs}, {"mappings", mappings}, {"held", held}, {"noports", noPorts}, {"burst", burst},
		{"binds", binds},
		{"flows", flows}, {"bulk", bulk}, {"growth", growth}, {"size", size}}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == load.Word {
		if err := load.Main(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "load:", err)
			os.Exit(1)
		}
		return
	}
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	b := &bench{}
	flag.IntVar(&b.rounds, "rounds", 30, "how often each plugin is called; some scenarios take more or fewer")
	flag.BoolVar(&b.quick, "quick", false, "three rounds and small numbers, to see that everything works")
	only := flag.String("only", "", "run these scenarios, with commas between: "+strings.Join(names, ", "))
	docs := flag.String("docs", "", "a Markdown file whose tables, and pictures beside it, are written anew")
	flag.Parse()
	for name := range strings.SplitSeq(*only, ",") {
		if name != "" && !slices.Contains(names, name) {
			fmt.Fprintf(os.Stderr, "bench: no scenario %q, only %s\n", name, strings.Join(names, ", "))
			os.Exit(2)
		}
	}
	os.Exit(lab.Enclose(func() int { return b.main(*only, *docs) }))
}

// main runs the scenarios; an empty choice is all.
func (b *bench) main(only, docs string) (code int) {
	if b.quick {
		b.rounds = 3
	}
	start := time.Now()
	b.onSignal()
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintln(os.Stderr, "bench:", r)
			code = 1
		}
		b.clean()
	}()
	// /run/cni is in memory on a node, so the state is here too.
	b.bin, b.state = b.TempDir(), b.tempDir("/dev/shm")
	if err := install(b.bin); err != nil {
		b.Fatalf("%v", err)
	}
	for _, s := range scenarios() {
		if only == "" || slices.Contains(strings.Split(only, ","), s.name) {
			b.Logf("%7s  %s", time.Since(start).Round(time.Second), s.name)
			s.run(b)
		}
	}
	b.closeHeld()
	b.finish(docs, only == "", time.Since(start))
	return 0
}
