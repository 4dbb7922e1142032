// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Port is one entry of runtimeConfig.portMappings. The zero HostIP stands for
// both families; 0.0.0.0 and "::" stand for all of one.
type Port struct {
	Proto         hostport.Proto
	HostIP        netip.Addr
	HostPort      uint16
	ContainerPort uint16
	field         string
}

// portWire is the JSON of an entry as written.
type portWire struct {
	HostPort      int64  `json:"hostPort"`
	ContainerPort int64  `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

func (c *Config) setPorts(w *wire) error {
	for i, raw := range w.RuntimeConfig.PortMappings {
		p, err := parsePort(raw, fmt.Sprintf("runtimeConfig.portMappings[%d]", i))
		if err != nil {
			return err
		}
		c.Ports = append(c.Ports, p)
	}
	return nil
}

func parsePort(raw json.RawMessage, field string) (Port, error) {
	var e portWire
	p := Port{field: field}
	if err := decode(raw, field, &e); err != nil {
		return p, err
	}
	var err error
	if p.HostPort, err = portNumber(e.HostPort, field+".hostPort"); err != nil {
		return p, err
	}
	if p.ContainerPort, err = portNumber(e.ContainerPort, field+".containerPort"); err != nil {
		return p, err
	}
	if p.Proto, err = hostport.ParseProto(e.Protocol); err != nil {
		return p, &FieldError{Field: field + ".protocol", Problem: err.Error()}
	}
	if e.HostIP == "" {
		return p, nil
	}
	p.HostIP, err = netip.ParseAddr(e.HostIP)
	if err != nil || p.HostIP.Zone() != "" {
		return p, fieldErrorf(field+".hostIP", `%q is not an IP address (want such as "192.0.2.1", or "" for all)`, e.HostIP)
	}
	p.HostIP = p.HostIP.Unmap()
	return p, nil
}

func portNumber(n int64, field string) (uint16, error) {
	if n < 1 || n > 65535 {
		return 0, fieldErrorf(field, "%d is not a port (1-65535)", n)
	}
	return uint16(n), nil
}
