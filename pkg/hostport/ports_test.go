// SPDX-License-Identifier: Apache-2.0

package hostport

import (
	"strings"
	"testing"
)

func TestParsePorts(t *testing.T) {
	for in, want := range map[string]Ports{
		"22": {22, 22, 0}, "22/tcp": {22, 22, TCP}, "53/UDP": {53, 53, UDP}, "9/Sctp": {9, 9, SCTP},
		"10248-10250/tcp": {10248, 10250, TCP}, "1-65535": {1, 65535, 0}, "80-80": {80, 80, 0},
	} {
		if p, err := ParsePorts(in); err != nil || p != want {
			t.Errorf("%q: got %+v, %v", in, p, err)
		}
	}
	for in, says := range map[string]string{
		"": `"" is not a port`, "0": `"0" is not a port`, "65536/tcp": `"65536" is not a port`, "1-65536": `"65536"`, "-1": `"" is not a port`, "1-": `"" is not a port`,
		"+1": "not a port", "1-2-3": `"2-3"`, "0x16": "not a port", " 22": "not a port", "22 /tcp": "not a port", "ssh": "not a port", "22.5": "not a port", "true": "not a port",
		"22/": `"" is not a protocol`, "22/icmp": `"icmp" is not a protocol`, "22/tcp/udp": `"tcp/udp"`, "30-20/tcp": `"30-20" ends before it begins`,
	} {
		if p, err := ParsePorts(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %+v, %v; want %q", in, p, err, says)
		}
	}
}

func TestPortsHas(t *testing.T) {
	for in, want := range map[string]string{"22": "22/tcp 22/udp", "22/udp": "22/udp", "20-22/tcp": "22/tcp", "23-30": "", "1-21": ""} {
		p, err := ParsePorts(in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, proto := range []Proto{TCP, UDP} {
			if m := (Mapping{Family: IPv6, Proto: proto, HostPort: 22}); p.Has(m) {
				got = append(got, m.String())
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s has %v, want %s", in, got, want)
		}
	}
}

// What is read is written so that it is read as the same.
func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"22", "22/tcp", "10248-10250/TCP", "1-65535/udp", "0", "30-20", "22/", "-", "/", "65536/sctp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePorts(s)
		if err != nil {
			return
		}
		again, err := ParsePorts(p.String())
		if err != nil || again != p || p.From == 0 || p.From > p.To {
			t.Errorf("%q: %+v, then %+v, %v", s, p, again, err)
		}
	})
}
