// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"fmt"
	"testing"
)

// Nearly all rules of a large node are for other destinations and ports.
func BenchmarkWalk(b *testing.B) {
	var rules []string
	for i := range 20_000 {
		rules = append(rules, fmt.Sprintf("PREROUTING -d 10.%d.%d.1/32 -p tcp -m comment --comment \"a/b:c cluster IP\" -m tcp --dport %d -j RETURN", i/250, i%250, i+1))
	}
	benchWalk(b, rules)
}

// A blocklist that lets each of its sources go on.
func BenchmarkSources(b *testing.B) {
	rules := []string{"PREROUTING -j sources"}
	for i := range 20_000 {
		rules = append(rules, fmt.Sprintf("sources -s 10.100.%d.%d/32 -j RETURN", i>>8, i&255))
	}
	benchWalk(b, rules)
}

func benchWalk(b *testing.B, rules []string) {
	w := walker(b, Options{}, rules...)
	p := packet(Prerouting, "192.0.2.1", 80)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Walk("PREROUTING", p); err != nil {
			b.Fatal(err)
		}
	}
}
