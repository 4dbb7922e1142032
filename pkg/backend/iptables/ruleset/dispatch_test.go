// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptsave"
)

// reached walks a packet as the kernel would and returns the chains of attachments
// that it gets to, with the number of rules asked until the first one.
func (k fake) reached(t testing.TB, p hostport.Proto, port uint16) (keys []string, asked int) {
	t.Helper()
	var walk func(chain string)
	walk = func(chain string) {
		for _, r := range k["nat"][chain] {
			if len(keys) == 0 {
				asked++
			}
			s := iptsave.Rule{Text: r}.Spec()
			proto, _ := s.Option("-p")
			if s.Target == "RETURN" || proto.Value() != p.String() || !portIn(t, s, port) {
				continue
			}
			if key := keyOf(s.Target); key != "" {
				keys = append(keys, key)
				continue
			}
			walk(s.Target)
		}
	}
	walk(hostports)
	return keys, asked
}

func portIn(t testing.TB, s iptsave.Spec, port uint16) bool {
	t.Helper()
	o, ok := s.Option("--dports")
	if !ok {
		o, _ = s.Option("--dport")
	}
	for part := range strings.SplitSeq(o.Value(), ",") {
		var from, to uint16
		if n, _ := fmt.Sscanf(part, "%d:%d", &from, &to); n == 1 {
			to = from
		} else if n != 2 {
			t.Fatalf("ports %q", o.Value())
		}
		if from <= port && port <= to {
			return true
		}
	}
	return false
}

// many is an attachment with some ports.
func many(id string, proto hostport.Proto, ports ...uint16) hostport.Attachment {
	a := simple(id, "", 0)
	a.Mappings = nil
	for _, p := range ports {
		a.Mappings = append(a.Mappings, mapping(4, "", proto, p, 80))
	}
	return a
}

func TestFewAttachmentsAreInOneChain(t *testing.T) {
	k := newFake()
	for i := range uint16(crowd) {
		k.put(t, v4, many(fmt.Sprint(i), hostport.TCP, 1000+i), Node{})
	}
	if n := len(k["nat"][hostports]); n != crowd || len(k["nat"]) != 3+2+2*crowd {
		t.Fatalf("%d rules, %d chains\n%s", n, len(k["nat"]), k.save())
	}
	k.put(t, v4, many("one more", hostport.UDP, 53), Node{})
	want := []string{"-p tcp -m tcp --dport 0:4095 -j PORTGUARD-TCP-0-4095", "-p udp -m udp --dport 0:4095 -j PORTGUARD-UDP-0-4095"}
	if diff := cmp.Diff(want, k["nat"][hostports]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if n := len(k["nat"]["PORTGUARD-TCP-0-4095"]); n != crowd {
		t.Errorf("%d rules, want %d", n, crowd)
	}
}

// A thousand hostPorts are a few rules away, on whatever ports.
func TestTheLastOfManyIsNear(t *testing.T) {
	for name, ports := range map[string]func(i int) uint16{
		"in a row":      func(i int) uint16 { return uint16(20000 + i) },
		"all over":      func(i int) uint16 { return uint16(1 + i*65) },
		"NodePorts":     func(i int) uint16 { return uint16(30000 + i*2) },
		"from the end":  func(i int) uint16 { return uint16(65535 - i) },
		"in two places": func(i int) uint16 { return uint16(i%2*40000 + 100 + i) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newFake()
			have := k.layout(t, v4)
			all := have
			for i := 0; i < 1000; i += 10 {
				var own []uint16
				for j := range 10 {
					own = append(own, ports(i+j))
				}
				all = all.Put(many(fmt.Sprint(i), hostport.TCP, own...), Node{})
			}
			k.apply(t, Diff(have, all))
			worst := 0
			for i := range 1000 {
				keys, asked := k.reached(t, hostport.TCP, ports(i))
				if want := many(fmt.Sprint(i/10*10), hostport.TCP).Owner.Key(); !slices.Equal(keys, []string{want}) {
					t.Fatalf("port %d reaches %q, want %s", ports(i), keys, want)
				}
				worst = max(worst, asked)
			}
			if worst > 4*crowd {
				t.Errorf("%d rules were asked", worst)
			}
		})
	}
}

// crowded is a kernel with more hostPorts than one chain takes.
func crowded(t *testing.T) fake {
	k := foreign()
	for i := range uint16(60) {
		k.put(t, v4, many(fmt.Sprint(i), hostport.TCP, 8000+3*i), Node{})
	}
	return k
}

func TestCheckFindsWhatIsLostOnTheWay(t *testing.T) {
	a := many("7", hostport.TCP, 8021)
	for _, tt := range []struct {
		name   string
		damage func(fake)
		says   string
	}{
		{"the outermost chain", func(k fake) { k["nat"][hostports] = nil }, `PORTGUARD-HOSTPORTS lacks the rule "-p tcp -m tcp --dport 8021 `},
		{"a rule that leads to a range", func(k fake) {
			k["nat"]["PORTGUARD-TCP-4096-8191"] = slices.DeleteFunc(k["nat"]["PORTGUARD-TCP-4096-8191"], func(r string) bool { return targetOf(r) == "PORTGUARD-TCP-7936-8191" })
		}, `PORTGUARD-TCP-4096-8191 lacks the rule "-p tcp -m tcp --dport 8021 `},
		{"the rule that leads to the attachment", func(k fake) { k["nat"]["PORTGUARD-TCP-8016-8031"] = nil }, `PORTGUARD-TCP-8016-8031 lacks the rule "-p tcp -m tcp --dport 8021 `},
		{"a rule of somebody else", func(k fake) {
			k["nat"]["PORTGUARD-TCP-8016-8031"] = append([]string{"-j ACCEPT"}, k["nat"]["PORTGUARD-TCP-8016-8031"]...)
		}, `PORTGUARD-TCP-8016-8031 holds somebody else's rule "-j ACCEPT"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := crowded(t)
			if lost := k.layout(t, v4).Check(a, nil); len(lost) > 0 {
				t.Fatalf("lost before: %q", lost)
			}
			tt.damage(k)
			if lost := k.layout(t, v4).Check(a, nil); len(lost) != 1 || !strings.Contains(lost[0], tt.says) {
				t.Errorf("lost %q, want %q", lost, tt.says)
			}
			// Putting it again is the cure, except for what somebody else has put there.
			k.put(t, v4, a, Node{})
			if keys, _ := k.reached(t, hostport.TCP, 8021); !slices.Contains(keys, a.Owner.Key()) {
				t.Errorf("put again it reaches %q", keys)
			}
		})
	}
}

// What was cut off from the way keeps its rules, and goes with their owners.
func TestChainsOffTheWayGoWithTheirOwners(t *testing.T) {
	k := crowded(t)
	k["nat"][hostports] = nil
	for i := range 60 {
		k.remove(t, v4, many(fmt.Sprint(i), hostport.TCP).Owner.Key())
	}
	if diff := cmp.Diff(foreign().save(), k.save()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestRangesHaveNames(t *testing.T) {
	for _, p := range []hostport.Proto{hostport.TCP, hostport.UDP, hostport.SCTP} {
		for _, w := range widths() {
			for _, port := range []uint16{0, 15, 16, 4095, 4096, 20000, 65535} {
				s := around(p, port, w)
				if got, ok := spanOf(s.chain()); !ok || got != s || len(s.chain()) > 28 || !IsOurs(s.chain()) {
					t.Errorf("%s is %+v, %v", s.chain(), got, ok)
				}
			}
		}
	}
	for _, n := range []string{hostports, masq, guard, "PORTGUARD-TCP-1", "PORTGUARD-X-0-15", "PORTGUARD-TCP-0-15-", "PORTGUARD-TCP-00-15", "KUBE-TCP-0-15"} {
		if _, ok := spanOf(n); ok {
			t.Errorf("%s is no range", n)
		}
	}
}
