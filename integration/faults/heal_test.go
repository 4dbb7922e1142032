// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// A patient is a node with pods that live, whose rules somebody flushes.
type patient struct {
	*lab.Node
	t           *testing.T
	live, other []*lab.Pod
	// whole are the rules of the pods that live, localnet is what the link had then.
	whole, localnet string
}

func newPatient(t *testing.T, bin, backend, flavour string) *patient {
	t.Helper()
	n := lab.NewNode(t, bin, flavour)
	n.Backend = backend
	p := &patient{Node: n, t: t}
	home := n.NewPod("home")
	n.Run("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", home.Name)
	n.Run("ip", "link", "set", "pod0", "up")
	n.Run("ip", "route", "add", "10.88.0.77/32", "dev", "pod0")
	for i := range 5 {
		p.live = append(p.live, n.NewPod(fmt.Sprint("keep", i)))
		p.must("ADD", p.live[i], 9000+i)
	}
	for i := range 4 {
		p.other = append(p.other, n.NewPod(fmt.Sprint("other", i)))
	}
	p.whole, p.localnet = n.Rules(), p.sysctl()
	return p
}

func (p *patient) sysctl() string { return p.ReadSysctl("net/ipv4/conf/pod0/route_localnet") }

func (p *patient) must(verb string, pod *lab.Pod, port int) {
	p.t.Helper()
	if _, err := start(p.Node, verb, pod, conf(p.Node, pod, port), time.Minute); err != nil {
		p.t.Error(err)
	}
}

// flush takes away all that the living have.
func (p *patient) flush() {
	p.t.Helper()
	p.Run("nft", "flush", "ruleset")
	if p.Flavour == "legacy" {
		p.Run("sh", "-ec", "for t in nat mangle; do for v in '' 6; do ip${v}tables-legacy -t $t -F; ip${v}tables-legacy -t $t -X; done; done")
	}
	p.Sysctl("net/ipv4/conf/pod0/route_localnet", "0")
	if p.Rules() == p.whole {
		p.t.Fatal("nothing is lost")
	}
}

// healed wants all to be as it was before.
func (p *patient) healed(when string) bool {
	p.t.Helper()
	rules, localnet, files := p.Rules(), p.sysctl(), p.StateFiles()
	if rules == p.whole && localnet == p.localnet && len(files) == len(p.live) {
		return true
	}
	p.t.Errorf("%s: route_localnet %s, want %s, files %v, rules\n%s\nwant\n%s", when, localnet, p.localnet, files, rules, p.whole)
	return false
}

func onPatients(t *testing.T, f func(t *testing.T, p *patient)) {
	t.Helper()
	bin := t.TempDir()
	if err := lab.Build(bin); err != nil {
		t.Fatal(err)
	}
	for _, where := range [][2]string{{"nftables", "nft"}, {"iptables", "nft"}, {"iptables", "legacy"}} {
		t.Run(where[0]+" beside "+where[1], func(t *testing.T) {
			p := newPatient(t, bin, where[0], where[1])
			f(t, p)
			for i, pod := range p.live { // what a kill left of the record of one goes with it
				p.must("DEL", pod, 9000+i)
			}
			if files := leftFiles(p.Node); len(files) > 0 || strings.Contains(strings.ToLower(p.Rules()), "portguard") {
				t.Errorf("left: %v\n%s", files, p.Rules())
			}
		})
	}
}

// A call that is killed while it heals leaves nothing that the next one does not put right.
func TestKillWhileHealing(t *testing.T) {
	onPatients(t, func(t *testing.T, p *patient) {
		pod := p.other[0]
		p.flush()
		begin := time.Now()
		p.must("ADD", pod, 8080)
		longest := time.Since(begin) * 5 / 4
		p.must("DEL", pod, 8080)
		var f figure
		for range tries(t) {
			f.tries++
			p.flush()
			killed, err := start(p.Node, "ADD", pod, conf(p.Node, pod, 8080), time.Duration(rand.IntN(int(longest))))
			if err != nil {
				t.Fatal(err)
			}
			if f.done++; killed {
				f.done--
				f.killed++
			}
			p.must("DEL", pod, 8080)
			if !p.healed("a kill and a DEL") {
				f.leftovers++
			}
		}
		fmt.Printf("kill -9 while healing: %s beside iptables-%s: %d tries, %d killed, %d done before, %d leftovers\n", p.Backend, p.Flavour, f.tries, f.killed, f.done, f.leftovers)
	})
}

// Calls that heal at once, for several pods, do it once.
func TestHealingAtOnce(t *testing.T) {
	onPatients(t, func(t *testing.T, p *patient) {
		for range tries(t) / 5 {
			for _, verb := range []string{"ADD", "DEL"} {
				p.flush()
				var all sync.WaitGroup
				for i, pod := range p.other {
					all.Go(func() { p.must(verb, pod, 8080+i) })
				}
				all.Wait()
				if verb == "ADD" {
					continue // and the DELs find all of them lost
				}
				p.healed("calls at once")
			}
		}
	})
}
