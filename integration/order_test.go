// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// A history is how a table came to two base chains at one hook and priority: "asks" takes what
// "marks" has marked, if that is first.
type history struct {
	name  string
	steps []string
	// taken is set if the kernel asks "marks" first, unsure if ADD cannot know that it does not.
	taken, unsure bool
}

// histories end with either chain first. In steps, T is the table, ASKS and MARKS are the chains
// with their rules, and SPARE is a chain with the same hook and priority that does nothing.
func histories() []history {
	const off, on = "add table T { flags dormant; }\n", "add table T\n"
	anew := func(chain string) string {
		return "flush chain T " + chain + "\ndelete chain T " + chain + "\n" + strings.ToUpper(chain)
	}
	both := func(name string, steps ...string) []history {
		swapped := strings.NewReplacer("ASKS", "MARKS", "MARKS", "ASKS", "asks", "marks", "marks", "asks")
		var other []string
		for _, s := range steps {
			other = append(other, swapped.Replace(s))
		}
		return []history{{name: name + ", marks last", steps: steps, taken: true}, {name: name + ", marks first", steps: other}}
	}
	var out []history
	for _, h := range [][]history{
		both("one batch", on+"ASKS"+"MARKS"),
		both("one after the other", on+"ASKS", "MARKS"),
		both("made anew", on+"MARKS"+"ASKS", anew("marks")),
		both("awake with both", off+"ASKS"+"MARKS", on),
		both("one is added while it sleeps", on+"ASKS", off, "MARKS", on),
		both("one is added when it awakes", off+"ASKS", "MARKS"+on),
		both("asleep and awake again", on+"ASKS"+"MARKS", off, on, off, on),
		both("one is renamed", on+"ASKS", "rename chain T asks old\n", "MARKS", off, on),
		both("others come and go", on+"SPARE"+"ASKS", "MARKS"+"delete chain T spare\n", "SPARE"),
		both("another table between", on+"ASKS", "add table BETWEEN\n"+"BESIDE", "MARKS"),
	} {
		out = append(out, h...)
	}
	return append(out, history{name: "two tables", steps: []string{on + "MARKS", "add table BETWEEN\n" + "TOO"}, unsure: true})
}

// script is a step as nft reads it.
func script(step, family, typ string) string {
	hook := map[string]string{"nat": "{ type nat hook prerouting priority -90; }\n", "filter": "{ type filter hook prerouting priority -310; }\n"}[typ]
	asks := " meta l4proto tcp meta mark 0x64 " + map[string]string{"nat": "redirect to :9999\n", "filter": "tcp dport set 9999\n"}[typ]
	chains := strings.NewReplacer(
		"ASKS", "add chain T asks "+hook+"add rule T asks"+asks,
		"MARKS", "add chain T marks "+hook+"add rule T marks tcp dport 8080 meta mark set 0x64\n",
		"SPARE", "add chain T spare "+hook,
		"TOO", "add chain BETWEEN asks "+hook+"add rule BETWEEN asks"+asks,
		"BESIDE", "add chain BETWEEN spare "+hook,
	)
	return strings.NewReplacer("BETWEEN", family+" between", "T ", family+" t ", "T\n", family+" t\n").Replace(chains.Replace(step))
}

// Of two base chains of one table at one hook and priority the younger one is first, whatever
// became of the table meanwhile: traffic says so, and ADD knows it.
func TestOrderInTable(t *testing.T) {
	for _, family := range []string{"ip", "ip6", "inet"} {
		for _, typ := range []string{"nat", "filter"} {
			t.Run(family+" "+typ, func(t *testing.T) {
				t.Parallel()
				n := lab.NewNode(t, bin, "nft")
				tcp, addr, families := "tcp4", lab.NodeV4, "4"
				if family == "ip6" {
					tcp, addr, families = "tcp6", lab.NodeV6, "6"
				}
				n.ServeTCP(tcp, ":9999", "owner")
				// What is written into packets needs the way back.
				n.Feed("table inet back { chain out { type filter hook postrouting priority 310; tcp sport 9999 tcp sport set 8080; }; }", "nft", "-f", "-")
				o := ordered{n, n.Network("net", families, nil), tcp, net.JoinHostPort(addr, "8080")}
				for _, h := range histories() {
					t.Run(h.name, func(t *testing.T) { o.try(t, h, family, typ) })
				}
			})
		}
	}
}

// ordered is a node whose chains are in some order, and the mapping that is tried there.
type ordered struct {
	*lab.Node
	list, network, addr string
}

func (n ordered) try(t *testing.T, h history, family, typ string) {
	for _, s := range h.steps {
		n.Feed(script(s, family, typ), "nft", "-f", "-")
	}
	defer n.Feed(strings.ReplaceAll("delete table F t\nadd table F between\ndelete table F between\n", "F", family), "nft", "-f", "-")
	if got := n.Client.Who(n.network, n.addr) == "owner"; got != h.taken {
		t.Fatalf("the owner has the port: %t, want %t", got, h.taken)
	}
	if h.taken || h.unsure {
		refused(t, n.Node, n.list, 103, []string{"8080/tcp is taken"}, lab.TCP(8080, 80))
		return
	}
	pod := n.NewPod("web")
	pod.Serve(80, "web")
	n.MustAdd(pod, n.list, lab.TCP(8080, 80))
	want(t, "from outside", n.Client.Who(n.network, n.addr), "web")
	if err := n.Del(pod, n.list, lab.TCP(8080, 80)); err != nil {
		t.Error(err)
	}
}
