// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
	"github.com/portguard/portguard/pkg/hostport"
)

// Binds are refused in the cgroup of the tests.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the oracle needs root")
		os.Exit(1)
	}
	os.Exit(lab.Enclose(m.Run))
}

// env reads a number, such as SEEDS, that a person may set.
func env(t *testing.T, name string, def uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// load puts the sets into the node, in their order, and returns the one that
// its tool refuses, as they do with some combinations of matches.
func (w *World) load(sets []Set) (refused *Set, out string) {
	text := scripts(sets)
	w.behind = behind(text)
	w.rewrites = strings.Contains(text, "set 9997")
	w.headers = headers(text)
	w.counts = strings.Contains(text, "statistic")
	w.halves = w.counts && strings.Contains(text, "notrack")
	w.lengths = slices.ContainsFunc([]string{"length", "u32", "connbytes", "ct original bytes", "nexthdr"}, func(s string) bool { return strings.Contains(text, s) })
	for i, s := range sets {
		if s.Flavour == "legacy" {
			w.legacy[s.V6] = true
		}
		if out, err := w.Node.Try(s.Script(), s.Restore()...); err != nil {
			return &sets[i], out
		}
	}
	return nil, ""
}

// unload takes away what sets made.
func (w *World) unload(sets []Set) {
	for _, s := range sets {
		input, command := s.Unload()
		_, _ = w.Node.Try(input, command...)
	}
}

// run compares decision and kernel for one list of sets, none if one of them is
// refused.
func (w *World) run(t *testing.T, sets []Set, seed uint64) (verdicts []Verdict, routed int, wrong []string, refused *Set) {
	t.Helper()
	w.renew(t, sets)
	// The server would be found, and the decision is not told of it.
	w.wait(t, Sockets(seed), !strings.Contains(scripts(sets), " socket "))
	defer w.hush()
	defer w.unload(sets)
	if refused, out := w.load(sets); refused != nil {
		if refused.Table != nil {
			t.Logf("nft refuses: %s", out)
		}
		return nil, 0, nil, refused
	}
	answers := w.Decide(t)
	sent := w.Send(t, hostport.IPv4, hostport.IPv6)
	verdicts = Compare(answers, sent)
	if a, ok := accepted(answers, seed); ok && os.Getenv("PLACE") != "0" {
		routed, wrong = w.Place(t, a, sent)
		w.hush()
		wrong = append(wrong, w.Hold(t, a)...)
	}
	if i := slices.IndexFunc(answers, func(a Answer) bool { return a.Dead }); i >= 0 && os.Getenv("PLACE") != "0" {
		_, more := w.Place(t, answers[i], sent)
		w.hush()
		wrong = append(wrong, more...)
	}
	return verdicts, routed, wrong, nil
}

// accepted picks one of the mappings that portguard would place.
func accepted(answers []Answer, seed uint64) (a Answer, ok bool) {
	var free []Answer
	for _, a := range answers {
		if !a.Taken && !a.Warned {
			free = append(free, a)
		}
	}
	if len(free) == 0 {
		return a, false
	}
	return free[seed%uint64(len(free))], true
}

// TestOracle compares SEEDS (300) random rule sets from FIRST on with the
// kernel. A false free fails at once; false taken may be at most 0.1 %, and
// ten more, because one seed may have several. With
// NATIVE=0 there are rules of iptables only, none of nftables' own; PLACE=0 places no mapping;
// STOP=1 ends with the first seed that fails.
func TestOracle(t *testing.T) {
	w := NewWorld(t)
	first, seeds := env(t, "FIRST", 1), env(t, "SEEDS", 300)
	native := os.Getenv("NATIVE") != "0"
	free, taken, answers, hits, refused, tables := 0, 0, 0, 0, uint64(0), uint64(0)
	placed, placedWrong, unsent := 0, 0, 0
	for seed := first; seed < first+seeds && (!t.Failed() || os.Getenv("STOP") != "1"); seed++ {
		sets := Generate(seed, native)
		verdicts, routed, wrong, no := w.run(t, sets, seed)
		for _, what := range wrong {
			placedWrong++
			t.Errorf("seed %d: %s\n%s", seed, what, scripts(sets))
		}
		placed += routed
		if no != nil {
			refused++
			if no.Table != nil {
				tables++
			}
		}
		for _, v := range verdicts {
			answers++
			if v.Hit != nil {
				hits++
			}
			if v.Unsent() {
				unsent++
			}
			if v.FalseFree() {
				free++
				// Dropping rules takes seconds; enough to look at is enough.
				explained := scripts(sets)
				if free < 20 {
					explained = w.explain(t, sets, v, seed)
				}
				t.Errorf("seed %d: %s\n%s", seed, v, explained)
			}
			if v.FalseTaken() && !w.again(t, sets, v, seed) {
				t.Logf("seed %d: once, and not again: %s", seed, v)
			} else if v.FalseTaken() {
				taken++
				explained := ""
				if taken < 20 {
					explained = w.explain(t, sets, v, seed)
				}
				t.Logf("seed %d: %s\n%s", seed, v, explained)
			}
		}
	}
	fmt.Printf("oracle: %d seeds, %d answers, %d taken by the kernel, %d false free, %d false taken, %d taken for packets that nobody sent; %d sets the tools refuse, %d of them nft; %d packets to mappings that were placed, %d astray\n",
		seeds, answers, hits, free, taken, unsent, refused, tables, placed, placedWrong)
	if refused*4 > seeds || tables*10 > seeds {
		t.Errorf("%d of %d sets could not be loaded, %d of them nft", refused, seeds, tables)
	}
	if hits == 0 || placed == 0 && os.Getenv("PLACE") != "0" || taken > answers/1000+10 {
		t.Errorf("%d of %d answers are false taken, %d hits, %d placed", taken, answers, hits, placed)
	}
}

func scripts(sets []Set) string {
	var b strings.Builder
	for _, s := range sets {
		fmt.Fprintf(&b, "# %s\n%s", strings.Join(s.Restore(), " "), s.Script())
	}
	return b.String()
}

// again reports whether the verdict on sets is that of before: on a busy machine a packet may
// be late.
func (w *World) again(t *testing.T, sets []Set, v Verdict, seed uint64) bool {
	t.Helper()
	verdicts, _, _, _ := w.run(t, sets, seed)
	return slices.ContainsFunc(verdicts, func(o Verdict) bool {
		return o.Mapping == v.Mapping && o.FalseFree() == v.FalseFree() && o.FalseTaken() == v.FalseTaken()
	})
}

// explain drops rules one by one as long as the verdict stays what it is.
func (w *World) explain(t *testing.T, sets []Set, v Verdict, seed uint64) string {
	t.Helper()
	for again := true; again; {
		again = false
		for i := range sets {
			for j := range sets[i].Rules {
				try := append([]Set(nil), sets...)
				try[i].Rules = append(append([]Rule(nil), sets[i].Rules[:j]...), sets[i].Rules[j+1:]...)
				if w.again(t, try, v, seed) {
					sets, again = try, true
					break
				}
			}
		}
	}
	text := scripts(sets)
	for _, s := range Sockets(seed) {
		text += s.String() + "\n"
	}
	return text
}
