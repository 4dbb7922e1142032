// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/walk"
	"github.com/portguard/portguard/pkg/way"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func at(s conflict.Stage, priority int32) []conflict.Point {
	return []conflict.Point{{Hook: walk.Prerouting, Stage: s, Priority: priority}, {Hook: walk.Output, Stage: s, Priority: priority}}
}

func all4() addrset.Set { return addrset.All(true) }

func tcp80() hostport.Mapping {
	return hostport.Mapping{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 80}
}

// somebody is a finding about all IPv4 addresses.
func somebody(k finding.Kind, who string, points []conflict.Point) conflict.Finding {
	return conflict.Finding{Kind: k, Who: who, Mapping: tcp80(), Message: who, At: points, Dst: all4()}
}

func nginx() conflict.Finding {
	return somebody(finding.Listener, "nginx", at(conflict.Socket, 0))
}

func pod() conflict.Finding {
	return somebody(finding.Claimed, "pod default/web", at(conflict.Translation, -95))
}

func service() conflict.Finding {
	return somebody(finding.NodePort, "Service default/s", at(conflict.Translation, -100))
}

func with(f conflict.Finding, change func(*conflict.Finding)) conflict.Finding {
	change(&f)
	return f
}

// ways are those of packets of which nothing is known but whom they are for.
func ways(side way.Side, f []conflict.Finding, to ...netip.Addr) []way.Way {
	out, _ := (&way.Model{}).Ways(way.Query{Proto: hostport.TCP, To: netip.AddrPortFrom(netip.Addr{}, 80)}, to, []way.Source{{Side: side}}, way.Claims{walk.Link{}: f})
	return out
}

func gets(f ...conflict.Finding) Outcome {
	return outcomes(ways(way.Outside, f, addr("192.0.2.1")))[0]
}

func TestOutcome(t *testing.T) {
	part := func(f *conflict.Finding) { f.Part = true }
	dead := func(f *conflict.Finding) { f.Life = hostport.Dead }
	elsewhere := func(f *conflict.Finding) { f.Dst = addrset.Between(addr("192.0.2.9"), addr("192.0.2.9")) }
	six := func(f *conflict.Finding) { f.Mapping.Family = hostport.IPv6 }
	output := func(f *conflict.Finding) { f.At = f.At[1:] }
	iptables := func(f *conflict.Finding) { f.At = at(conflict.Translation, -100) }
	unclear := somebody(finding.Undecodable, "a rule", at(conflict.Translation, -100))
	ends := somebody(finding.Hidden, "nobody by a rule", at(conflict.Translation, -100))
	for _, tt := range []struct {
		name   string
		found  []conflict.Finding
		gets   string
		unless int
	}{
		{"without a claim the port is closed", nil, "nobody (the port is closed)", 0},
		{"a listener is asked last", []conflict.Finding{nginx(), pod()}, "pod default/web (hostPort)", 0},
		{"a Service wins by order", []conflict.Finding{nginx(), pod(), service()}, "Service default/s", 0},
		{"in one table the Service is first", []conflict.Finding{with(pod(), iptables), service()}, "Service default/s", 0},
		{"what takes a part leaves the rest", []conflict.Finding{with(service(), part), pod()}, "pod default/web (hostPort)", 1},
		{"what is not clear may take it", []conflict.Finding{unclear, nginx()}, "nginx", 1},
		{"another address is not asked", []conflict.Finding{with(service(), elsewhere), nginx()}, "nginx", 0},
		{"nor another family", []conflict.Finding{with(service(), six), nginx()}, "nginx", 0},
		{"nor another hook", []conflict.Finding{with(service(), output), nginx()}, "nginx", 0},
		{"an ACCEPT hides what is behind it in its table", []conflict.Finding{ends, with(pod(), iptables), nginx()}, "nginx", 0},
		{"and nothing in another table", []conflict.Finding{ends, pod(), nginx()}, "pod default/web (hostPort)", 0},
		{"the dead swallow packets", []conflict.Finding{with(pod(), dead), nginx()}, "nobody (the rules of pod default/web, which is gone, lead nowhere)", 0},
		{"a Service without endpoints rejects", []conflict.Finding{somebody(finding.NodePort, "Service x", at(conflict.Rejection, 0)), nginx()}, "nobody (kube-proxy rejects it for Service x)", 0},
		{"but not what was translated before", []conflict.Finding{somebody(finding.NodePort, "Service x", at(conflict.Rejection, 0)), pod()}, "pod default/web (hostPort)", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if o := gets(tt.found...); o.Gets != tt.gets || len(o.Unless) != tt.unless {
				t.Errorf("got %+v, want %q unless %d", o, tt.gets, tt.unless)
			}
		})
	}
}

func TestNew(t *testing.T) {
	own, loopback := []netip.Addr{addr("192.0.2.1"), addr("192.0.2.9"), addr("2001:db8::1")}, []netip.Addr{addr("127.0.0.1"), addr("::1")}
	only := with(pod(), func(f *conflict.Finding) { f.Dst = addrset.Between(addr("192.0.2.1"), addr("192.0.2.1")) })
	r := conflict.Report{Conflicts: []conflict.Finding{nginx(), only}, Warnings: []conflict.Finding{somebody(finding.ServiceIP, "Service lb", at(conflict.Translation, -100))}}
	a := New(Question{Port: 80, Proto: hostport.TCP}, r, Ways{Outside: ways(way.Outside, r.Conflicts, own...), Localhost: ways(way.Self, r.All(), loopback...)})
	var order []string
	for _, c := range a.Claimants {
		order = append(order, c.Kind+" "+c.Effect)
	}
	if diff := cmp.Diff([]string{"serviceIP warns", "hostPort refuses", "listener refuses"}, order); diff != "" {
		t.Errorf("claimants (-want +got)\n%s", diff)
	}
	if d := a.Decision; d.Allowed || d.Code != 100 || len(d.Refusals) != 2 || len(d.Warnings) != 1 {
		t.Errorf("decision: %+v", d)
	}
	want := "A packet from outside goes to pod default/web (hostPort) if it is for 192.0.2.1, to nginx if it is for 192.0.2.9, and to nobody (the port is closed) if it is for 2001:db8::1."
	if s := Sentence("A packet from outside", a.Outside); s != want {
		t.Errorf("got %q", s)
	}
	if s := Sentence("Localhost", a.Localhost); !strings.Contains(s, "Service lb if it is for 127.0.0.1") {
		t.Errorf("got %q", s)
	}
	one := New(Question{HostIP: addr("127.0.0.1"), Port: 80, Proto: hostport.TCP}, conflict.Report{}, Ways{Localhost: ways(way.Self, nil, addr("127.0.0.1"))})
	if s := Sentence("X", one.Outside); s != "X has no way to this address." || len(one.Localhost) != 1 || !one.Decision.Allowed || one.Claimants == nil {
		t.Errorf("%q, %+v", s, one)
	}
}

func TestSentenceCountsManyAddresses(t *testing.T) {
	outs := []Outcome{{Addresses: []string{"1", "2", "3", "4", "5", "6"}, Gets: "a"}, {Addresses: []string{"7", "8"}, Gets: "b", Unless: []string{"x", "y"}}}
	want := "S goes to a if it is for 1, 2, 3, 4 or 2 others, and to b if it is for 7 or 8, unless it is taken by x or by y."
	if got := Sentence("S", outs); got != want {
		t.Errorf("got %q", got)
	}
}

// Where sources differ, each is told by its link, and by the part of it.
func TestSourcesAreTold(t *testing.T) {
	to := addr("192.0.2.1")
	f := pod()
	dropped := &way.Closure{What: "dropped by a rule", Remedy: "remove it"}
	from := func(link string, beyond bool, closed *way.Closure) way.Way {
		return way.Way{Source: way.Source{Link: walk.Link{Name: link}, Beyond: beyond}, To: to, Taker: &f, Closed: closed}
	}
	itself := func(w way.Way) way.Way { w.Source.Side, w.Source.Itself = way.Pod, true; return w }
	pods := func(w way.Way) way.Way { w.Source.Side = way.Pod; return w }
	for want, ways := range map[string][]way.Way{
		"P goes to pod default/web (hostPort) if it comes by cni0 from another pod, and to nobody (it is for pod default/web (hostPort), and dropped by a rule) if it comes by cni0 from the pod itself.": {pods(from("cni0", false, nil)), itself(from("cni0", false, dropped))},
		"P goes to pod default/web (hostPort) if it comes by another link, and to nobody (it is for pod default/web (hostPort), and dropped by a rule) if it comes by veth1.":                             {pods(from("", false, nil)), itself(from("veth1", false, dropped))},
		"P goes to pod default/web (hostPort).":                                           {from("eth0", false, nil), from("eth1", false, nil)},
		"P goes to nobody (it is for pod default/web (hostPort), and dropped by a rule).": {from("eth0", false, dropped), from("eth0", true, dropped)},
		"P goes to pod default/web (hostPort) if it comes by eth0, and to nobody (it is for pod default/web (hostPort), and dropped by a rule) if it comes by eth1.":                                                  {from("eth0", false, nil), from("eth0", true, nil), from("eth1", false, dropped)},
		"P goes to pod default/web (hostPort) if it comes by eth0 from its own network, and to nobody (it is for pod default/web (hostPort), and dropped by a rule) if it comes by eth0 from beyond its own network.": {from("eth0", false, nil), from("eth0", true, dropped)},
	} {
		if got := Sentence("P", outcomes(ways)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
