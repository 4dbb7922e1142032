// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
)

func equal() cmp.Option {
	return cmp.Options{
		cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
		cmpopts.IgnoreUnexported(Config{}, Port{}),
	}
}

func defaults() Config {
	return Config{Backend: "auto", Template: hostport.Attachment{SNAT: true, Localhost: true}, LockTimeout: 10 * time.Second, ClaimWait: 5 * time.Second, DataDir: "/run/cni/portguard", CacheDir: "/var/lib/cni", PodLogsDir: "/var/log/pods"}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		change   func(*Config)
	}{
		{"an empty object has every default", `{}`, func(*Config) {}},
		{"unknown keys are ignored", `{"capabilities":{"portMappings":true},"x":1}`, func(c *Config) { c.Capable = true }},
		{"null is the default", `{"snat":null,"backend":null,"conditionsV4":null,"runtimeConfig":null,"prevResult":null}`, func(*Config) {}},
		{"name and version are kept", `{"name":"n","cniVersion":"1.0.0"}`, func(c *Config) { c.Name, c.CNIVersion = "n", "1.0.0" }},
		{"localhost follows snat", `{"snat":false}`, func(c *Config) { c.Template.SNAT, c.Template.Localhost = false, false }},
		{"localhost may differ from snat", `{"snat":false,"localhost":true}`, func(c *Config) { c.Template.SNAT = false }},
		{"localhost may be off alone", `{"localhost":false}`, func(c *Config) { c.Template.Localhost = false }},
		{"masqAll is kept", `{"masqAll":true}`, func(c *Config) { c.Template.MasqAll = true }},
		{"the backend may be named", `{"backend":"iptables"}`, func(c *Config) { c.Backend = "iptables" }},
		{"the backend may be nftables", `{"backend":"nftables"}`, func(c *Config) { c.Backend = "nftables" }},
		{"conflictPolicy fail is the default", `{"conflictPolicy":"fail"}`, func(*Config) {}},
		{"conflictPolicy warn warns only", `{"conflictPolicy":"warn"}`, func(c *Config) { c.WarnOnly = true }},
		{"claimWait may be none", `{"claimWait":"0s"}`, func(c *Config) { c.ClaimWait = 0 }},
		{"paths are cleaned", `{"dataDir":"/a//b/","lockTimeout":"1m"}`, func(c *Config) { c.DataDir, c.LockTimeout = "/a/b", time.Minute }},
		{"conditions are kept in order", `{"conditionsV4":["!","-s","192.0.2.0/24"],"conditionsV6":["-s","::1"]}`, func(c *Config) {
			c.Template.ConditionsV4, c.Template.ConditionsV6 = []string{"!", "-s", "192.0.2.0/24"}, []string{"-s", "::1"}
			c.Syntax = "iptables"
		}},
		{"conditions may be those of nft", `{"conditionsV4":["ip","saddr","{ 10.0.0.1, 10.0.0.2 }"]}`, func(c *Config) {
			c.Template.ConditionsV4, c.Syntax = []string{"ip", "saddr", "{ 10.0.0.1, 10.0.0.2 }"}, "nftables"
		}},
		{"a name of nft may hold anything in quotes", `{"conditionsV4":["iifname \"drop;#\\\"","@th,0,16 8080"]}`, func(c *Config) {
			c.Template.ConditionsV4, c.Syntax = []string{`iifname "drop;#\"`, "@th,0,16 8080"}, "nftables"
		}},
		{"portmap's empty condition is none", `{"conditionsV4":[""]}`, func(*Config) {}},
		{"excludes are masked and may be addresses", `{"excludeCIDRs":["192.0.2.9/24","198.51.100.1","fd00::1"]}`, func(c *Config) {
			c.Template.Excludes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("fd00::1/128")}
		}},
		{"interfaces may be names and beginnings", `{"excludeInterfaces":["dummy0","lb*"]}`, func(c *Config) { c.Template.ExcludeInterfaces = hostport.Links{"dummy0", "lb*"} }},
		{"half of all addresses may be excluded", `{"excludeCIDRs":["0.0.0.0/1","8000::/1"]}`, func(c *Config) {
			c.Template.Excludes = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("8000::/1")}
		}},
		{"protected ports may be numbers and ranges", `{"protectedPorts":[22,"53/UDP","10248-10250/tcp"]}`, func(c *Config) {
			c.Protected = []hostport.Ports{{From: 22, To: 22}, {From: 53, To: 53, Proto: hostport.UDP}, {From: 10248, To: 10250, Proto: hostport.TCP}}
		}},
		{"no port is protected without an entry", `{"protectedPorts":[]}`, func(*Config) {}},
		{"null protects nothing", `{"protectedPorts":null,"podLogsDir":null,"excludeCIDRs":null,"excludeInterfaces":null,"lockTimeout":null,"dataDir":null}`, func(*Config) {}},
		{"the kubelet's directory may be another", `{"podLogsDir":"/data/pods/"}`, func(c *Config) { c.PodLogsDir = "/data/pods" }},
		{"markMasqBit is noted", `{"markMasqBit":31}`, func(c *Config) {
			c.Notes = []string{"markMasqBit is not needed and has no effect: portguard sets no packet marks"}
		}},
		{"externalSetMarkChain is noted", `{"externalSetMarkChain":"KUBE-MARK-MASQ"}`, func(c *Config) {
			c.Notes = []string{"externalSetMarkChain is not needed and has no effect: portguard sets no packet marks"}
		}},
		{
			"ports are read", `{"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":65535,"protocol":"UDP","hostIP":"::ffff:192.0.2.1"},{"hostPort":2,"containerPort":3}]}}`,
			func(c *Config) {
				c.Ports = []Port{
					{Proto: hostport.UDP, HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 1, ContainerPort: 65535},
					{Proto: hostport.TCP, HostPort: 2, ContainerPort: 3},
				}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := defaults()
			tt.change(&want)
			got, err := Parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got, equal()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestParseNamesTheWrongField(t *testing.T) {
	port := func(s string) string {
		return `{"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1},` + s + `]}}`
	}
	for _, tt := range []struct{ name, in, field, says string }{
		{"a list is not a configuration", `[]`, "network configuration", "object"},
		{"name must be a string", `{"name":1}`, "name", "string"},
		{"snat must be true or false", `{"snat":"yes"}`, "snat", `"yes" is a string (want true or false)`},
		{"masqAll must be true or false", `{"masqAll":1}`, "masqAll", "true or false"},
		{"localhost must be true or false", `{"localhost":"x"}`, "localhost", "true or false"},
		{"backend must be known", `{"backend":"ebpf"}`, "backend", `"ebpf"`},
		{"backend must be a string", `{"backend":{}}`, "backend", "string"},
		{"a bit below 0 is refused", `{"markMasqBit":-1}`, "markMasqBit", "0-31"},
		{"a bit above 31 is refused", `{"markMasqBit":32}`, "markMasqBit", "0-31"},
		{"a bit must be whole", `{"markMasqBit":1.5}`, "markMasqBit", "whole number"},
		{"portmap's two mark keys exclude each other", `{"markMasqBit":1,"externalSetMarkChain":"X"}`, "markMasqBit", "externalSetMarkChain"},
		{"conflictPolicy must be known", `{"conflictPolicy":""}`, "conflictPolicy", "fail"},
		{"conditions must be a list", `{"conditionsV4":"-s 1"}`, "conditionsV4", `"-s 1" is a string (want a list)`},
		{"conditions must be a list of strings", `{"conditionsV4":["-s", 1]}`, "conditionsV4", `["-s",1] holds a number (want a string)`},
		{"a key without a name leads nowhere", `{"backend":{"":1}}`, "backend", `{"":1} is an object (want a string)`},
		{"a capability must be true or false", `{"capabilities":{"portMappings":"x"}}`, "capabilities", `{"portMappings":"x"} holds a string (want true or false)`},
		{"a long value is cut", `{"snat":"` + strings.Repeat("y", 100) + `"}`, "snat", `yyy... is a string (want`},
		{"a condition must not break the line", `{"conditionsV4":["-s","1.1.1.1\n-A X"]}`, "conditionsV4[1]", "line break"},
		{"a condition must not hold a NUL", `{"conditionsV6":["-s\u0000"]}`, "conditionsV6[0]", "NUL"},
		{"conditions must be for the backend", `{"backend":"iptables","conditionsV6":["ip6","saddr","::1"]}`, "conditionsV6", "in the syntax of nftables"},
		{"the same the other way round", `{"backend":"nftables","conditionsV6":["-s","::1"]}`, "conditionsV6", "in the syntax of iptables"},
		{"conditions must have one syntax", `{"conditionsV4":["-s","1.1.1.1"],"conditionsV6":["ip6","saddr","::1"]}`, "conditionsV6", "use one"},
		{"a chain for marks is for iptables", `{"backend":"nftables","externalSetMarkChain":"X"}`, "externalSetMarkChain", "for iptables"},
		{"a condition of nft must not be a verdict", `{"conditionsV4":["ip saddr 10.0.0.1","accept"]}`, "conditionsV4[1]", "not a match"},
		{"a condition of nft must not end the rule", `{"conditionsV4":["ip saddr 10.0.0.1; flush ruleset"]}`, "conditionsV4[0]", "end the rule"},
		{"a verdict of nft may be a name in quotes", `{"conditionsV4":["iifname \"drop;#\\\" iifname \"y\" accept"]}`, "conditionsV4[0]", "not a match"},
		{"a condition of nft must not open a quote", `{"conditionsV4":["iifname \"eth0"]}`, "conditionsV4[0]", "a quote that does not close"},
		{"a condition of nft must not be a second part of ours", `{"conditionsV4":["| 1"]}`, "conditionsV4[0]", "would change what stands before"},
		{"the same in words", `{"conditionsV6":["or\t1"]}`, "conditionsV6[0]", "would change what stands before"},
		{"a condition of nft must not make a set", `{"conditionsV4":["meter m { ip saddr limit rate 1/second }"]}`, "conditionsV4[0]", "not a match"},
		{"conditions must fit on a line", `{"conditionsV4":["-m","comment","--comment","` + strings.Repeat("x", 2048) + `"]}`, "conditionsV4[3]", "2048 bytes"},
		{"a condition must not hide an option behind one without a value", `{"conditionsV4":["-fj","ACCEPT"]}`, "conditionsV4[0]", "not a match"},
		{"an option may be shortened to two letters", `{"conditionsV4":["--mo=/bin/x"]}`, "conditionsV4[0]", "not a match"},
		{"or to one", `{"conditionsV4":["--j","ACCEPT"]}`, "conditionsV4[0]", "not a match"},
		{"a condition must not be an unknown option", `{"conditionsV4":["-4"]}`, "conditionsV4[0]", "not a match"},
		{"a condition must not jump", `{"conditionsV4":["-s","1.1.1.1","-j","ACCEPT"]}`, "conditionsV4[2]", "not a match"},
		{"a condition must not jump with the long name", `{"conditionsV4":["--jump","ACCEPT"]}`, "conditionsV4[0]", "not a match"},
		{"a condition must not go elsewhere", `{"conditionsV4":["-g","X"]}`, "conditionsV4[0]", "not a match"},
		{"a condition must not change the table", `{"conditionsV4":["-t","filter"]}`, "conditionsV4[0]", "not a match"},
		{"excludes must be CIDRs", `{"excludeCIDRs":["fc00::/7","x"]}`, "excludeCIDRs[1]", "neither"},
		{"excludes have no zone", `{"excludeCIDRs":["fe80::1%eth0"]}`, "excludeCIDRs[0]", "neither"},
		{"excludes are not v4-mapped", `{"excludeCIDRs":["::ffff:10.0.0.0/104"]}`, "excludeCIDRs[0]", "v4-mapped"},
		{"excludes must leave IPv4", `{"excludeCIDRs":["192.0.2.0/24","10.0.0.0/0"]}`, "excludeCIDRs[1]", `"10.0.0.0/0" leaves no IPv4 address to map`},
		{"excludes must leave IPv6", `{"excludeCIDRs":["::/0"]}`, "excludeCIDRs[0]", `"::/0" leaves no IPv6 address to map`},
		{"two halves are all", `{"excludeCIDRs":["128.0.0.0/1","::1","0.0.0.0/1"]}`, "excludeCIDRs[2]", "leaves no IPv4 address"},
		{"excludeInterfaces must be a list", `{"excludeInterfaces":"lb0"}`, "excludeInterfaces", `"lb0" is a string (want a list)`},
		{"an interface must be a string", `{"excludeInterfaces":["lb0",7]}`, "excludeInterfaces", "holds a number (want a string)"},
		{"an interface must not be every one", `{"excludeInterfaces":["lb0","*"]}`, "excludeInterfaces[1]", `"*" is every link`},
		{"an interface must be one that the kernel can have", `{"excludeInterfaces":["a/b"]}`, "excludeInterfaces[0]", `"a/b" is no name of a link`},
		{"protectedPorts must be a list", `{"protectedPorts":"22"}`, "protectedPorts", `"22" is a string (want a list)`},
		{"a protected port must not be empty", `{"protectedPorts":[22,""]}`, "protectedPorts[1]", `"" is not a port`},
		{"a protected port must not be null", `{"protectedPorts":[null]}`, "protectedPorts[0]", `"" is not a port`},
		{"a protected port must be whole", `{"protectedPorts":[22.5]}`, "protectedPorts[0]", `"22.5" is not a port`},
		{"a protected port must not be negative", `{"protectedPorts":[-22]}`, "protectedPorts[0]", "is not a port"},
		{"a protected port must not be an object", `{"protectedPorts":[{"port":22}]}`, "protectedPorts[0]", "is not a port"},
		{"a protected port ends at 65535", `{"protectedPorts":["65535-65536"]}`, "protectedPorts[0]", `"65536" is not a port`},
		{"a range must not be turned round", `{"protectedPorts":["30-20/tcp"]}`, "protectedPorts[0]", "ends before it begins"},
		{"a protected port's protocol must be known", `{"protectedPorts":["22/icmp"]}`, "protectedPorts[0]", `"icmp" is not a protocol`},
		{"podLogsDir must be absolute", `{"podLogsDir":"pods"}`, "podLogsDir", "absolute"},
		{"lockTimeout must be a duration", `{"lockTimeout":"10"}`, "lockTimeout", "duration"},
		{"lockTimeout must be positive", `{"lockTimeout":"0s"}`, "lockTimeout", "positive"},
		{"lockTimeout must be a string", `{"lockTimeout":10}`, "lockTimeout", "string"},
		{"dataDir must be absolute", `{"dataDir":"run"}`, "dataDir", "absolute"},
		{"dataDir must not be empty", `{"dataDir":""}`, "dataDir", "absolute"},
		{"dataDir must not be the root", `{"dataDir":"/a/.."}`, "dataDir", "directory"},
		{"dataDir must not break a line", `{"dataDir":"/run/a\nb"}`, "dataDir", `"/run/a\nb" is not`},
		{"cacheDir must not hold a NUL", `{"cacheDir":"/run/a\u0000b"}`, "cacheDir", "is not an absolute path"},
		{"runtimeConfig must be an object", `{"runtimeConfig":[]}`, "runtimeConfig", "object"},
		{"portMappings must be a list", `{"runtimeConfig":{"portMappings":{}}}`, "runtimeConfig.portMappings", "list"},
		{"a mapping must be an object", port(`7`), "runtimeConfig.portMappings[1]", "object"},
		{"a null mapping has no port", port(`null`), "runtimeConfig.portMappings[1].hostPort", "0 is not a port"},
		{"hostPort is needed", port(`{"containerPort":1}`), "runtimeConfig.portMappings[1].hostPort", "0 is not a port"},
		{"hostPort ends at 65535", port(`{"hostPort":65536,"containerPort":1}`), "runtimeConfig.portMappings[1].hostPort", "65536"},
		{"hostPort is not negative", port(`{"hostPort":-80,"containerPort":1}`), "runtimeConfig.portMappings[1].hostPort", "-80"},
		{"hostPort is a number", port(`{"hostPort":"80","containerPort":1}`), "runtimeConfig.portMappings[1].hostPort", `"80" is a string (want a whole number)`},
		{"hostPort may not wrap around", port(`{"hostPort":18446744073709551696,"containerPort":1}`), "runtimeConfig.portMappings[1].hostPort", "whole number"},
		{"containerPort is needed", port(`{"hostPort":1}`), "runtimeConfig.portMappings[1].containerPort", "0 is not a port"},
		{"the protocol must be known", port(`{"hostPort":1,"containerPort":1,"protocol":"icmp"}`), "runtimeConfig.portMappings[1].protocol", "icmp"},
		{"hostIP must be an address", port(`{"hostPort":1,"containerPort":1,"hostIP":"10.0.0.0/8"}`), "runtimeConfig.portMappings[1].hostIP", "not an IP"},
		{"hostIP has no zone", port(`{"hostPort":1,"containerPort":1,"hostIP":"fe80::1%eth0"}`), "runtimeConfig.portMappings[1].hostIP", "not an IP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.in))
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

func TestUnknown(t *testing.T) {
	in := `{"type":"portguard","cniVersion":"1.0.0","name":"n","capabilities":{},"SNAT":true,"args":{},"protectedPorts":[],"protectedPort":[22],"exclude":[]}`
	if diff := cmp.Diff([]string{"exclude", "protectedPort"}, Unknown([]byte(in))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := Unknown([]byte(`[`)); got != nil {
		t.Errorf("broken JSON: %q", got)
	}
}

func TestParseRefusesBrokenJSON(t *testing.T) {
	for _, in := range []string{``, `{`, `{"name":"a"} x`, `{"name":'a'}`} {
		if _, err := Parse([]byte(in)); err == nil || !strings.Contains(err.Error(), "not valid JSON") {
			t.Errorf("%q: error is %v", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":65535,"protocol":"UDP","hostIP":"::1"}]}}`))
	f.Add([]byte(`{"conditionsV4":["-s","192.0.2.0/24"],"excludeCIDRs":["::/1"],"lockTimeout":"1s","markMasqBit":3}`))
	f.Add([]byte(`{"protectedPorts":[22,"53/udp","10248-10250/TCP",null,"30-20",{}],"podLogsDir":"/data"}`))
	f.Add([]byte(`{"excludeCIDRs":["0.0.0.0/1","128.0.0.0/1"]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := Parse(in)
		if err != nil {
			return
		}
		for _, p := range c.Ports {
			if p.HostPort == 0 || p.ContainerPort == 0 {
				t.Errorf("port out of range: %+v", p)
			}
			if p.HostIP.Is4In6() || p.HostIP.Zone() != "" {
				t.Errorf("hostIP %v is not plain", p.HostIP)
			}
			if _, err := hostport.ParseProto(p.Proto.String()); err != nil {
				t.Error(err)
			}
		}
		for _, s := range append(c.Template.ConditionsV4, c.Template.ConditionsV6...) {
			if strings.ContainsAny(s, "\n\r\x00") {
				t.Errorf("condition %q breaks a line", s)
			}
		}
		if c.LockTimeout <= 0 || !strings.HasPrefix(c.DataDir, "/") || c.DataDir == "/" {
			t.Error(fmt.Sprint(c.LockTimeout, c.DataDir))
		}
	})
}

// Keys are taken in any case, as encoding/json and so portmap do.
func TestKeysInOtherCase(t *testing.T) {
	for in, want := range map[string]string{
		`{"Backend":"iptables"}`:                         place.IPTables,
		`{"backend":"iptables","X":1,"x":2}`:             place.IPTables,
		`{"backends":"iptables","bac":"x","back end":1}`: place.Auto,
	} {
		c, err := Parse([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if c.Backend != want {
			t.Errorf("%s: got %q", in, c.Backend)
		}
	}
	// DEL takes the last of several, and may not look elsewhere than ADD.
	if _, err := Parse([]byte(`{"dataDir":"/a","DATADIR":"/b"}`)); !errors.As(err, new(*FieldError)) {
		t.Errorf("a key that is given twice: %v", err)
	}
	if tear := ParseTeardown([]byte(`{"":"/a/b"}`)); tear.Name != "" || tear.DataDir != DefaultDataDir {
		t.Errorf("a key without a name is taken for others: %+v", tear)
	}
	if tear := ParseTeardown([]byte(`{"NAME":"n","DataDir":"/x","RuntimeConfig":{"PortMappings":[{}]}}`)); tear.Name != "n" || tear.DataDir != "/x" || !tear.HasPorts {
		t.Errorf("got %+v", tear)
	}
}
