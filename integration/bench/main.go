// SPDX-License-Identifier: Apache-2.0

// Command bench times whole ADDs and DELs of one dual-stack hostPort side by
// side: portguard with each backend, portmap with each of its own, and a plugin
// that does nothing, on nodes made of network namespaces with no rules, 20,000 of
// kube-proxy's in iptables-nft, and 45,000 elements in kube-proxy's nft maps.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/portguard/portguard/integration/lab"
)

// A contender is one plugin with one configuration, on a node of its own.
type contender struct {
	name, binary, more string
	node               *lab.Node
	pod                *lab.Pod
	took               map[string][]time.Duration
}

func main() {
	rounds := flag.Int("rounds", 15, "how often each plugin is called")
	flag.Parse()
	os.Exit(run(*rounds))
}

func run(rounds int) (code int) {
	b := &bench{}
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintln(os.Stderr, "bench:", r)
			code = 1
		}
		b.clean()
	}()
	bin := b.TempDir()
	if err := lab.Build(bin); err != nil {
		b.Fatalf("%v", err)
	}
	for _, s := range []struct {
		name string
		load func(*lab.Node)
	}{
		{"no rules", func(*lab.Node) {}},
		{"20,000 rules of kube-proxy in iptables-nft", func(n *lab.Node) { n.Feed(lab.Services(2500), "iptables-nft-restore", "--noflush") }},
		{"45,000 elements of kube-proxy in nftables", func(n *lab.Node) { n.Feed(lab.ServiceMap(45000), "nft", "-f", "-") }},
	} {
		b.scenario(bin, s.name, s.load, rounds)
	}
	return 0
}

// scenario calls all contenders in turn and prints the medians.
func (b *bench) scenario(bin, name string, load func(*lab.Node), rounds int) {
	all := []*contender{
		{name: "no-op", binary: "noop"},
		{name: "portguard nftables", binary: "portguard", more: `,"backend":"nftables"`},
		{name: "portguard iptables", binary: "portguard", more: `,"backend":"iptables"`},
		{name: "portmap iptables", binary: "portmap", more: `,"backend":"iptables"`},
		{name: "portmap nftables", binary: "portmap", more: `,"backend":"nftables"`},
	}
	for _, c := range all {
		c.node, c.took = lab.NewNode(b, bin, "nft"), map[string][]time.Duration{}
		load(c.node)
		// The node has another pod already, so shared chains and tables exist.
		other := c.node.NewPod("other")
		c.pod = c.node.NewPod("pod")
		c.node.Run("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", c.pod.Name)
		c.node.Run("ip", "link", "set", "pod0", "up")
		c.node.Run("ip", "route", "add", "10.88.0.0/16", "dev", "pod0")
		c.call(b, "ADD", other, 8081, 78)
	}
	for range rounds {
		for _, c := range all {
			for _, verb := range []string{"ADD", "DEL"} {
				c.took[verb] = append(c.took[verb], c.call(b, verb, c.pod, 8080, 77))
			}
		}
	}
	report(name, all)
	for _, c := range all {
		c.node.Delete()
	}
}

// call runs the plugin once and returns how long that took.
func (c *contender) call(b *bench, verb string, p *lab.Pod, port, host int) time.Duration {
	conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":%q,"dataDir":%q%s,
		"runtimeConfig":{"portMappings":[{"hostPort":%d,"containerPort":80,"protocol":"tcp"}]},
		"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":%q}],
		"ips":[{"address":"10.88.0.%d/16","interface":0},{"address":"fd00:88::%d/64","interface":0}]}}`,
		c.binary, "/run/portguard-bench/"+c.node.Name, c.more, port, p.Path, host, host)
	took, out, err := c.node.Time(c.binary, verb, p, conf)
	if err != nil {
		b.Fatalf("%s %s: %v %s", c.name, verb, err, out)
	}
	return took
}

// report prints one line a contender: medians, and ratios to portmap's iptables
// backend and to the plugin that does nothing.
func report(name string, all []*contender) {
	median := func(c *contender, verb string) time.Duration {
		d := slices.Clone(c.took[verb])
		slices.Sort(d)
		return d[len(d)/2]
	}
	fmt.Printf("\n%s\n%-20s %9s %9s %9s   %9s %9s %9s\n", name, "", "ADD", "/portmap", "/no-op", "DEL", "/portmap", "/no-op")
	for _, c := range all {
		fmt.Printf("%-20s", c.name)
		for _, verb := range []string{"ADD", "DEL"} {
			m := median(c, verb)
			fmt.Printf(" %7.1fms %9.2f %9.2f  ", ms(m), ms(m)/ms(median(all[3], verb)), ms(m)/ms(median(all[0], verb)))
		}
		lo, hi := slices.Min(c.took["ADD"]), slices.Max(c.took["ADD"])
		fmt.Println(strings.TrimRight(fmt.Sprintf("ADD %.1f-%.1f", ms(lo), ms(hi)), " "))
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
