// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, rewrite with -update if it is meant (-want +got)\n%s", file, diff)
	}
}

func TestPlanOfADualStackAttachment(t *testing.T) {
	for _, f := range hostport.Families() {
		k := newFake()
		sets := ServiceSets(f)[:2]
		plan := k.put(t, f, dualStack(), sets)
		golden(t, "testdata/add-"+strings.ToLower(f.String())+".golden", plan)
		if again := k.put(t, f, dualStack(), sets); again != "" {
			t.Errorf("%s: putting it again changes\n%s", f, again)
		}
	}
}

func TestPlanOfARemoval(t *testing.T) {
	k := newFake()
	k.put(t, hostport.IPv4, dualStack(), nil)
	have := k.layout(t, hostport.IPv4)
	golden(t, "testdata/del.golden", Diff(have, have.Remove(dualStack().Owner.Key())))
}

// foreign are rules of others on the node, which stay as they are.
func foreign() fake {
	k := newFake()
	k["nat"]["KUBE-SERVICES"], k["nat"]["KUBE-POSTROUTING"] = nil, nil
	k["nat"]["CNI-0123"] = []string{"-d 10.1.0.0/24 -j ACCEPT", "! -d 224.0.0.0/4 -j MASQUERADE"}
	k["nat"]["PREROUTING"] = []string{"-m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES"}
	k["nat"]["OUTPUT"] = []string{"-m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES"}
	k["nat"]["POSTROUTING"] = []string{"-j KUBE-POSTROUTING", "-s 10.1.0.2/32 -j CNI-0123"}
	k["mangle"]["PREROUTING"] = []string{"-i eth0 -j ACCEPT"}
	return k
}

func TestRemovalRestoresWhatWasBefore(t *testing.T) {
	for _, f := range hostport.Families() {
		k := foreign()
		before := k.save()
		k.put(t, f, dualStack(), ServiceSets(f))
		if k.save() == before {
			t.Fatalf("%s: nothing was put", f)
		}
		k.remove(t, f, dualStack().Owner.Key())
		if diff := cmp.Diff(before, k.save()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", f, diff)
		}
		k.remove(t, f, dualStack().Owner.Key())
		if diff := cmp.Diff(before, k.save()); diff != "" {
			t.Errorf("%s, removed twice (-want +got)\n%s", f, diff)
		}
	}
}

func TestPutThenRemoveIsNoDifference(t *testing.T) {
	k := foreign()
	k.put(t, hostport.IPv4, simple("other", "veth9", 90), nil)
	have := k.layout(t, hostport.IPv4)
	a := dualStack()
	if diff := Diff(have, have.Put(nil, a).Remove(a.Owner.Key())); diff != "" {
		t.Errorf("plan is not empty:\n%s", diff)
	}
}

// A plan backwards undoes it, to the place of every rule.
func TestTheWayBackRestoresWhatWasBefore(t *testing.T) {
	k := foreign()
	k.put(t, hostport.IPv4, simple("other", "veth9", 90), nil)
	k["nat"]["PREROUTING"] = append(k["nat"]["PREROUTING"], "-p udp -j ACCEPT")
	before, have := k.save(), k.layout(t, hostport.IPv4)
	k.put(t, hostport.IPv4, dualStack(), nil)
	k.apply(t, Diff(k.layout(t, hostport.IPv4), have))
	if diff := cmp.Diff(before, k.save()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Any way from any state to any other one ends where it should.
func TestRandomPlansArrive(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		k := foreign()
		before := k.save()
		live := map[string]hostport.Attachment{}
		for range 8 {
			a := simple(fmt.Sprint("c", r.IntN(4)), []string{"", "veth1", "veth2"}[r.IntN(3)], uint16(80+r.IntN(3)))
			a.MasqAll, a.SNAT = r.IntN(4) == 0, r.IntN(4) > 0
			switch key := a.Owner.Key(); r.IntN(4) {
			case 0:
				k.remove(t, hostport.IPv4, key)
				delete(live, key)
			case 1: // a flush by somebody else
				delete(k["nat"], "PGD-"+key)
				for c, rules := range k["nat"] {
					var keep []string
					for _, ru := range rules {
						if targetOf(ru) != "PGD-"+key {
							keep = append(keep, ru)
						}
					}
					k["nat"][c] = keep
				}
				delete(live, key)
				k.remove(t, hostport.IPv4, key)
			default:
				k.put(t, hostport.IPv4, a, ServiceSets(hostport.IPv4)[:r.IntN(3)])
				live[key] = a
			}
			l := k.layout(t, hostport.IPv4)
			for key, a := range live {
				if lost := l.Check(a, nil); len(lost) > 0 {
					t.Fatalf("seed %d: %s lost %q", seed, key, lost)
				}
			}
			if got := len(l.Claims()); got != len(live) {
				t.Fatalf("seed %d: %d claims, want %d", seed, got, len(live))
			}
		}
		for key := range live {
			k.remove(t, hostport.IPv4, key)
		}
		if diff := cmp.Diff(before, k.save()); diff != "" {
			t.Fatalf("seed %d (-want +got)\n%s", seed, diff)
		}
	}
}

func TestNamesFitTheKernel(t *testing.T) {
	a := dualStack()
	for _, n := range []string{hostports, masq, condPrefix + a.Owner.Key(), dnatPrefix + a.Owner.Key(), masqPrefix + a.Owner.Key()} {
		if len(n) > 28 || !IsOurs("nat", n) || IsOurs("filter", n) || IsOurs("mangle", n) {
			t.Errorf("chain %s has %d characters, ours: %v", n, len(n), IsOurs("nat", n))
		}
	}
	for _, n := range []string{"", "KUBE-SERVICES", "PGD-SHORT", "PORTGUARD", "PREROUTING", "DNAT", Guard, "PORTGUARD-OTHER"} {
		if IsOurs("nat", n) {
			t.Errorf("%q is not ours", n)
		}
	}
	for _, f := range hostport.Families() {
		for _, s := range ServiceSets(f) {
			if len(s.Name) > 31 || !strings.HasPrefix(s.Name, "KUBE-") {
				t.Errorf("set %q", s.Name)
			}
		}
	}
}

func TestManyPortsAreCutIntoMultiports(t *testing.T) {
	a := simple("c", "", 80)
	a.Mappings = nil
	for p := range uint16(31) {
		a.Mappings = append(a.Mappings, mapping(4, "", hostport.TCP, 100+p, p+1))
	}
	k := newFake()
	k.put(t, hostport.IPv4, a, nil)
	var sizes []int
	for _, r := range k["nat"][hostports] {
		sizes = append(sizes, strings.Count(r, ",")+1)
	}
	if diff := cmp.Diff([]int{15, 15, 1}, sizes); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if lost := k.layout(t, hostport.IPv4).Check(a, nil); len(lost) > 0 {
		t.Errorf("lost %q", lost)
	}
}
