// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/hostport"
)

const dualStack = `{"interfaces":[{"name":"cni0"},{"name":"veth1"},{"name":"eth0","sandbox":"/run/netns/x"},{"name":"net1","sandbox":"/run/netns/x"}],
	"ips":[{"interface":3,"address":"10.9.0.2/24"},{"interface":2,"address":"10.1.0.2/24"},{"interface":2,"address":"fd00::2/64"},{"interface":2,"address":"10.1.0.3/24"}]}`

// request parses a configuration with the given keys, ports and prevResult.
func request(keys, ports, prev string) (*Request, error) {
	prev = strings.Replace(prev, "{", `{"cniVersion":"1.0.0",`, 1)
	c, err := Parse([]byte(fmt.Sprintf(`{"cniVersion":"1.0.0","name":"n",%s"runtimeConfig":{"portMappings":[%s]},"prevResult":%s}`, keys, ports, prev)))
	if err != nil {
		return nil, err
	}
	return NewRequest(c, &skel.CmdArgs{ContainerID: "abc", IfName: "eth0", Args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"})
}

const v4Only = `{"ips":[{"address":"10.1.0.2/24"}]}`

func TestRequestMappings(t *testing.T) {
	port := func(ip string) string { return fmt.Sprintf(`{"hostPort":80,"containerPort":8080,"hostIP":%q}`, ip) }
	for _, tt := range []struct {
		name, keys, ports, prev string
		want                    []string
		warns                   string
	}{
		{"no hostIP maps both families", "", port(""), dualStack, []string{"IPv4 80/tcp 8080", "IPv6 80/tcp 8080"}, ""},
		{"no hostIP maps what the pod has", "", port(""), v4Only, []string{"IPv4 80/tcp 8080"}, ""},
		{"0.0.0.0 maps IPv4", "", port("0.0.0.0"), dualStack, []string{"IPv4 80/tcp 8080"}, ""},
		{"the v4-mapped wildcard maps IPv4", "", port("::ffff:0.0.0.0"), dualStack, []string{"IPv4 80/tcp 8080"}, ""},
		{"the IPv6 wildcard maps IPv6", "", port("::"), dualStack, []string{"IPv6 80/tcp 8080"}, ""},
		{"the IPv6 wildcard maps nothing for an IPv4 pod", "", port("::"), v4Only, nil, "maps nothing: the pod has no IPv6 address"},
		{"an address maps itself", "", port("192.0.2.1"), dualStack, []string{"IPv4 192.0.2.1:80/tcp 8080"}, ""},
		{"an IPv6 address maps itself", "", port("2001:db8::1"), dualStack, []string{"IPv6 [2001:db8::1]:80/tcp 8080"}, ""},
		{"127.0.0.1 may be mapped with localhost", "", port("127.0.0.1"), dualStack, []string{"IPv4 127.0.0.1:80/tcp 8080"}, ""},
		{"an exact duplicate is kept once", "", port("0.0.0.0") + "," + port("0.0.0.0"), dualStack, []string{"IPv4 80/tcp 8080"}, ""},
		{"the wildcard of one family duplicates that of both", "", port("") + "," + port("::"), dualStack, []string{"IPv4 80/tcp 8080", "IPv6 80/tcp 8080"}, ""},
		{
			"the first target of a port wins", "", port("0.0.0.0") + `,{"hostPort":80,"containerPort":9,"hostIP":"0.0.0.0"}`, dualStack,
			[]string{"IPv4 80/tcp 8080"}, "portMappings[1] maps hostPort 80/tcp again, to another containerPort; the first one (8080) is used",
		},
		{
			"in both families that is said once", "", port("") + `,{"hostPort":80,"containerPort":9}`, dualStack,
			[]string{"IPv4 80/tcp 8080", "IPv6 80/tcp 8080"}, "portMappings[1] maps hostPort 80/tcp again",
		},
		{
			"tcp and udp of one port are two mappings", "", port("0.0.0.0") + `,{"hostPort":80,"containerPort":9,"protocol":"udp","hostIP":"0.0.0.0"}`, dualStack,
			[]string{"IPv4 80/tcp 8080", "IPv4 80/udp 9"}, "",
		},
		{"wildcard and address are two mappings", "", port("0.0.0.0") + "," + port("192.0.2.1"), dualStack, []string{"IPv4 80/tcp 8080", "IPv4 192.0.2.1:80/tcp 8080"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := request(tt.keys, tt.ports, tt.prev)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range r.Attachment.Mappings {
				got = append(got, fmt.Sprintf("%s %s %d", m.Family, m, m.ContainerPort))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("mappings (-want +got)\n%s", diff)
			}
			if w := strings.Join(r.Warnings, "\n"); (w != "") != (tt.warns != "") || len(r.Warnings) > 1 || !strings.Contains(w, tt.warns) {
				t.Errorf("warnings are %q, want %q", w, tt.warns)
			}
		})
	}
}

func TestRequestRefusals(t *testing.T) {
	port := func(ip string) string { return fmt.Sprintf(`{"hostPort":80,"containerPort":8080,"hostIP":%q}`, ip) }
	hostIP := "runtimeConfig.portMappings[0].hostIP"
	for _, tt := range []struct{ name, keys, ports, prev, field, says string }{
		{"prevResult is needed without ports too", "", "", "null", "prevResult", "missing"},
		{"prevResult must be a result", "", "", `"x"`, "prevResult", "cannot be read"},
		{"prevResult must have an address", "", port(""), `{"ips":[]}`, "prevResult", "no IP address for eth0"},
		{"an address of another interface does not count", "", port(""), `{"interfaces":[{"name":"net1","sandbox":"/x"}],"ips":[{"interface":0,"address":"10.1.0.2/24"}]}`, "prevResult", "no IP address"},
		{"an address of the host's side does not count", "", port(""), `{"interfaces":[{"name":"eth0"}],"ips":[{"interface":0,"address":"10.1.0.2/24"}]}`, "prevResult", "no IP address"},
		{"an index out of range is an error", "", port(""), `{"ips":[{"address":"10.1.0.2/24"},{"interface":5,"address":"10.1.0.3/24"}]}`, "prevResult.ips[1].interface", "5 is not an index"},
		{"an address that is null is an error", "", port(""), `{"ips":[{"address":"10.1.0.2/24"},null]}`, "prevResult.ips[1]", "is null (want an object)"},
		{"so is an interface", "", port(""), `{"interfaces":[null],"ips":[{"interface":0,"address":"10.1.0.2/24"}]}`, "prevResult.interfaces[0]", "is null (want an object)"},
		{"a negative index is an error", "", port(""), `{"interfaces":[{"name":"cni0"}],"ips":[{"interface":-1,"address":"10.1.0.2/24"}]}`, "prevResult.ips[0].interface", "-1 is not an index"},
		{"limited broadcast is refused", "", port("255.255.255.255"), dualStack, hostIP, "the broadcast address"},
		{"a hostIP needs a pod address of its family", "", port("2001:db8::1"), v4Only, hostIP, "the pod has no IPv6 address"},
		{"IPv6 loopback is refused", "", port("::1"), dualStack, hostIP, "127.0.0.1"},
		{"loopback needs localhost", `"localhost":false,`, port("127.0.0.1"), dualStack, hostIP, `"localhost": true`},
		{"loopback needs localhost, which follows snat", `"snat":false,`, port("127.0.0.1"), dualStack, hostIP, `"localhost": true`},
		{"IPv4 multicast is refused", "", port("224.0.0.1"), dualStack, hostIP, "multicast"},
		{"IPv6 multicast is refused", "", port("ff02::1"), dualStack, hostIP, "multicast"},
		{"IPv6 link-local is refused", "", port("fe80::1"), dualStack, hostIP, "link-local"},
		{"an excluded hostIP is refused", `"excludeCIDRs":["192.0.2.0/24"],`, port("192.0.2.1"), dualStack, hostIP, "excludeCIDRs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := request(tt.keys, tt.ports, tt.prev)
			var fe *FieldError
			if !errors.As(err, &fe) {
				t.Fatalf("error is %v, want a FieldError", err)
			}
			if fe.Field != tt.field || !strings.Contains(fe.Problem, tt.says) {
				t.Errorf("got %q, want field %q and %q", fe, tt.field, tt.says)
			}
		})
	}
}

// What is no address of a host is refused, whether it would be the pod's or not.
func TestRequestImpossiblePods(t *testing.T) {
	const port = `{"hostPort":80,"containerPort":8080}`
	for ip, says := range map[string]string{
		"127.0.0.1/8": "loopback", "127.8.8.8/32": "loopback", "::1/128": "loopback", "::ffff:127.0.0.1/104": "127.0.0.1 is a loopback",
		"0.0.0.0/0": "unspecified", "0.0.0.1/8": "unspecified", "::/0": "unspecified", "169.254.169.254/16": "link-local", "fe80::1/64": "link-local",
		"224.0.0.1/4": "multicast", "239.1.2.3/32": "multicast", "ff02::1/128": "multicast", "ff0e::1/16": "multicast", "255.255.255.255/32": "broadcast",
	} {
		for i, prev := range []string{`{"ips":[{"address":%q}]}`, `{"ips":[{"address":"10.1.0.2/24"},{"address":%q}]}`,
			`{"interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.1.0.2/24"},{"address":"fd00::2/64"},{"address":%q,"interface":0}]}`} {
			_, err := request("", port, fmt.Sprintf(prev, ip))
			var fe *FieldError
			if field := fmt.Sprintf("prevResult.ips[%d]", i); !errors.As(err, &fe) || fe.Field != field || !strings.Contains(fe.Problem, says) {
				t.Errorf("%s: got %v, want field %s and %q", ip, err, field, says)
			}
		}
		if r, err := request("", "", fmt.Sprintf(`{"ips":[{"address":%q}]}`, ip)); err != nil {
			t.Errorf("%s: without ports %+v, %v", ip, r, err)
		}
	}
}

func TestRequestPodAddresses(t *testing.T) {
	const port = `{"hostPort":80,"containerPort":8080}`
	for _, tt := range []struct {
		name, prev string
		want       []string
	}{
		{"the first address a family of the interface counts", dualStack, []string{"10.1.0.2/24", "fd00::2/64"}},
		{"an address without an interface counts", v4Only, []string{"10.1.0.2/24"}},
		{"an address of another interface is not judged", `{"interfaces":[{"name":"lo","sandbox":"/x"}],"ips":[{"interface":0,"address":"127.0.0.1/8"},{"address":"10.1.0.2/24"}]}`, []string{"10.1.0.2/24"}},
		{"an address of the host's side is not judged", `{"interfaces":[{"name":"eth0"}],"ips":[{"interface":0,"address":"169.254.1.1/32"},{"address":"10.1.0.2/24"}]}`, []string{"10.1.0.2/24"}},
		{"IPv6 alone is enough", `{"ips":[{"address":"fd00::2/64"}]}`, []string{"fd00::2/64"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := request("", port, tt.prev)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range r.Attachment.Pods {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRequestWithoutPortsAsksForNothing(t *testing.T) {
	r, err := request("", "", `{"ips":[]}`)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Attachment.Mappings) != 0 || len(r.Result) < 2 {
		t.Errorf("got %+v", r)
	}
}

// A prevResult of the version that is asked for goes on as it came, with what the
// library does not know; another version is converted, and none is that of the
// configuration, as for portmap. An empty version is 0.1.0.
func TestPrevResultGoesOn(t *testing.T) {
	const ip, ip4 = `"ips":[{"address":"10.1.0.2/24"}]`, `"ip4":{"ip":"10.1.0.2/24"}`
	for _, c := range []struct{ asked, prev, want, err string }{
		{"1.0.0", `{"cniVersion":"1.0.0",` + ip + `,"later":{"a":1}}`, `{"cniVersion":"1.0.0",` + ip + `,"later":{"a":1}}`, ""},
		{"1.0.0", `{` + ip + `}`, `"cniVersion":"1.0.0"`, ""},
		{"1.0.0", `{"cniVersion":"",` + ip + `}`, "", "cannot be read"},
		{"1.0.0", `{"cniVersion":"0.4.0",` + ip + `}`, "", "cannot be read"},
		{"1.0.0", `[]`, "", "cannot be read"},
		{"1.0.0", `{"cniVersion":"1.1.0",` + ip + `}`, `"cniVersion":"1.0.0"`, ""},
		{"0.4.0", `{"ips":[{"version":"4","address":"10.1.0.2/24"}]}`, `"cniVersion":"0.4.0"`, ""},
		{"0.2.0", `{"cniVersion":"0.2.0",` + ip4 + `}`, `{"cniVersion":"0.2.0",` + ip4 + `}`, ""},
		{"0.2.0", `{` + ip4 + `}`, `"cniVersion":"0.2.0"`, ""},
		{"0.1.0", `{"cniVersion":"0.2.0",` + ip4 + `}`, `"cniVersion":"0.1.0"`, ""},
		{"", `{"cniVersion":"0.1.0",` + ip4 + `}`, `"cniVersion":"0.1.0"`, ""},
		{"", `{` + ip4 + `}`, ip4, ""},
	} {
		for _, ports := range []string{"", `,"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":80}]}`} {
			conf, err := Parse([]byte(`{"cniVersion":"` + c.asked + `","name":"n","prevResult":` + c.prev + ports + `}`))
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewRequest(conf, &skel.CmdArgs{ContainerID: "abc", IfName: "eth0"})
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%q %s: got %v", c.asked, c.prev, err)
				}
			case err != nil:
				t.Errorf("%q %s: %v", c.asked, c.prev, err)
			case !strings.Contains(strings.Join(strings.Fields(string(r.Result)), ""), c.want):
				t.Errorf("%q %s: result %s", c.asked, c.prev, r.Result)
			case ports != "" && (len(r.Attachment.Pods) != 1 || r.Attachment.Pods[0].String() != "10.1.0.2/24"):
				t.Errorf("%q %s: pods %v", c.asked, c.prev, r.Attachment.Pods)
			}
		}
	}
}

func TestRequestTakesOver(t *testing.T) {
	r, err := request(`"masqAll":true,"conditionsV4":["-s","1.1.1.1"],"conditionsV6":["-s","::2"],"excludeCIDRs":["192.0.2.0/24"],`,
		`{"hostPort":80,"containerPort":8080}`, v4Only)
	if err != nil {
		t.Fatal(err)
	}
	want := hostport.Attachment{
		Owner: hostport.Owner{Network: "n", ContainerID: "abc", IfName: "eth0", PodNamespace: "default", PodName: "web-0"},
		Pods:  r.Attachment.Pods, Mappings: r.Attachment.Mappings, Excludes: r.Template.Excludes,
		SNAT: true, MasqAll: true, Localhost: true,
		ConditionsV4: []string{"-s", "1.1.1.1"}, ConditionsV6: []string{"-s", "::2"},
	}
	if diff := cmp.Diff(want, r.Attachment, equal()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOwnerOf(t *testing.T) {
	for _, tt := range []struct{ name, args, ns, pod string }{
		{"both names are read", "IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_INFRA_CONTAINER_ID=c", "a", "b"},
		{"no arguments name no pod", "", "", ""},
		{"malformed arguments name no pod", ";;=;x;K8S_POD_NAME", "", ""},
		{"other arguments name no pod", "FOO=bar", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := OwnerOf("n", &skel.CmdArgs{IfName: "\xffé\xfe"}).IfName; got != "\ufffdé\ufffd" {
				t.Errorf("a name that is no UTF-8 is %q, which JSON does not say", got)
			}
			got := OwnerOf("n", &skel.CmdArgs{ContainerID: "id", IfName: "eth0", Args: tt.args})
			want := hostport.Owner{Network: "n", ContainerID: "id", IfName: "eth0", PodNamespace: tt.ns, PodName: tt.pod}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
