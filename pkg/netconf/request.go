// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/portguard/portguard/pkg/hostport"
)

// A Request is what an ADD or a CHECK asks for: the attachment with its
// mappings, and the result of the plugins before us.
type Request struct {
	*Config
	Attachment hostport.Attachment
	// Result is what ADD hands on: prevResult as it came, with what this version of the
	// library does not know, or converted if another version is asked for.
	Result []byte
	// PodIPs are all addresses of the pod's interface, and HostIPs the specific ones.
	// Whether they can be what they are said to be depends on the node.
	PodIPs, HostIPs []Given
	// Warnings are about mappings that cannot do anything.
	Warnings []string

	// targets are the containerPorts of the mappings, which have none in the key.
	targets map[hostport.Mapping]uint16
}

// A Given is an address and the field that it is in.
type Given struct {
	Field string
	Addr  netip.Addr
}

// NewRequest completes c with the CNI variables and prevResult. An attachment
// without mappings means that there is nothing to do.
func NewRequest(c *Config, args *skel.CmdArgs) (*Request, error) {
	r := &Request{Config: c, Attachment: c.Template, targets: map[hostport.Mapping]uint16{}}
	r.Attachment.Owner = OwnerOf(c.Name, args)
	passed := c.passed()
	if r.Result = append(passed, '\n'); len(c.Ports) == 0 && passed != nil {
		return r, nil // reading the rest would take longer than all that was done so far
	}
	prev, result, err := c.result()
	if err == nil && passed == nil {
		r.Result, err = c.converted(prev)
	}
	if err != nil {
		return nil, err
	}
	if len(c.Ports) == 0 {
		return r, nil
	}
	if err := r.setPods(result); err != nil {
		return nil, err
	}
	if len(r.Attachment.Pods) == 0 {
		return nil, fieldErrorf("prevResult", "has no IP address for %s; name portguard in the conflist after the plugin that assigns one", args.IfName)
	}
	r.Attachment.Mappings = make([]hostport.Mapping, 0, 2*len(c.Ports))
	for _, p := range c.Ports {
		if err := r.add(p); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// OwnerOf names the attachment of one call. The name of its interface is as JSON can tell
// it, because prevResult, records and the lists of a GC do.
func OwnerOf(network string, args *skel.CmdArgs) hostport.Owner {
	o := hostport.Owner{Network: network, ContainerID: args.ContainerID, IfName: string([]rune(args.IfName))}
	for pair := range strings.SplitSeq(args.Args, ";") {
		switch k, v, _ := strings.Cut(pair, "="); k {
		case "K8S_POD_NAMESPACE":
			o.PodNamespace = v
		case "K8S_POD_NAME":
			o.PodName = v
		}
	}
	return o
}

// passed returns prevResult if it says that it is of the configuration's version.
func (c *Config) passed() json.RawMessage {
	var given struct {
		CNIVersion string `json:"cniVersion"`
	}
	if json.Unmarshal(c.prevResult, &given) != nil || c.CNIVersion == "" || given.CNIVersion != c.CNIVersion {
		return nil
	}
	return c.prevResult
}

// result reads prevResult. One that says no version is of the configuration's.
func (c *Config) result() (prev types.Result, result *current.Result, err error) {
	if len(c.prevResult) == 0 {
		return nil, nil, fieldErrorf("prevResult", "is missing; name portguard in the conflist after the plugin that creates the interface")
	}
	if err := nulls(c.prevResult); err != nil {
		return nil, nil, err
	}
	conf := types.PluginConf{CNIVersion: c.CNIVersion}
	if err = json.Unmarshal(c.prevResult, &conf.RawPrevResult); err == nil {
		err = version.ParsePrevResult(&conf)
	}
	if err == nil {
		result, err = current.NewResultFromResult(conf.PrevResult)
	}
	if err != nil {
		return nil, nil, c.unreadable(err)
	}
	return conf.PrevResult, result, nil
}

// nulls refuses a null where CNI's library expects an object: it would follow it.
func nulls(prevResult []byte) error {
	var lists struct{ IPs, Interfaces []json.RawMessage }
	if json.Unmarshal(prevResult, &lists) != nil {
		return nil // which the library says better
	}
	for _, l := range []struct {
		name string
		all  []json.RawMessage
	}{{"ips", lists.IPs}, {"interfaces", lists.Interfaces}} {
		for i, x := range l.all {
			if string(x) == "null" {
				return fieldErrorf(fmt.Sprintf("prevResult.%s[%d]", l.name, i), "is null (want an object); look at the plugin before portguard")
			}
		}
	}
	return nil
}

// converted is a result in the version that the configuration asks for.
func (c *Config) converted(prev types.Result) ([]byte, error) {
	var out bytes.Buffer
	result, err := prev.GetAsVersion(c.CNIVersion)
	if err == nil {
		err = result.PrintTo(&out)
	}
	if err != nil {
		return nil, c.unreadable(err)
	}
	return out.Bytes(), nil
}

func (c *Config) unreadable(err error) error {
	return fieldErrorf("prevResult", "cannot be read as a result of CNI %q: %v; look at cniVersion and at the plugin before portguard", c.CNIVersion, err)
}

// setPods picks the first address a family that is on the interface inside the sandbox. An
// address that names no interface counts, as it does for portmap. One that no pod can be
// reached at is an error, whether it would be picked or not.
func (r *Request) setPods(result *current.Result) error {
	for i, ip := range result.IPs {
		field := fmt.Sprintf("prevResult.ips[%d]", i)
		if n := ip.Interface; n != nil {
			if *n < 0 || *n >= len(result.Interfaces) {
				return fieldErrorf(field+".interface", "%d is not an index of prevResult.interfaces, which has %d; look at the plugin before portguard", *n, len(result.Interfaces))
			}
			if ifc := result.Interfaces[*n]; ifc.Name != r.Attachment.Owner.IfName || ifc.Sandbox == "" {
				continue
			}
		}
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		ones, bits := ip.Address.Mask.Size()
		if addr = addr.Unmap(); ok && addr.BitLen() < bits { // "::ffff:10.0.0.1/120"
			ones -= bits - addr.BitLen()
		}
		if what := notUnicast(addr); what != "" {
			return fieldErrorf(field, "%s is %s, which no pod can have; look at the plugin that assigns addresses and at what the pod asks it for", addr, what)
		}
		p := netip.PrefixFrom(addr, ones)
		if !ok || bits == 0 || !p.IsValid() {
			continue
		}
		r.PodIPs = append(r.PodIPs, Given{field, addr})
		if _, known := r.Attachment.Pod(hostport.FamilyOf(addr)); !known {
			r.Attachment.Pods = append(r.Attachment.Pods, p)
		}
	}
	return nil
}

// notUnicast says what kind of address a is if it is none of a host on some network.
func notUnicast(a netip.Addr) string {
	switch {
	case a.IsLoopback():
		return "a loopback address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	case a.IsMulticast():
		return "a multicast address"
	case a == hostport.LimitedBroadcast():
		return "the broadcast address"
	case a.IsUnspecified(), a.Is4() && a.As4()[0] == 0:
		return "an unspecified address"
	}
	return ""
}

// add appends the mappings of p, one a family.
func (r *Request) add(p Port) error {
	if p.HostIP.IsValid() && !p.HostIP.IsUnspecified() {
		return r.addSpecific(p)
	}
	for _, f := range hostport.Families() {
		if p.HostIP.IsValid() && hostport.FamilyOf(p.HostIP) != f {
			continue
		}
		if _, ok := r.Attachment.Pod(f); ok {
			r.append(p, hostport.Mapping{Family: f})
		} else if p.HostIP.IsValid() {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s.hostIP %s maps nothing: the pod has no %s address; leave that hostIP out", p.field, p.HostIP, f))
		}
	}
	return nil
}

func (r *Request) addSpecific(p Port) error {
	f := hostport.FamilyOf(p.HostIP)
	if _, ok := r.Attachment.Pod(f); !ok {
		return fieldErrorf(p.field+".hostIP", "%s cannot be mapped: the pod has no %s address; choose one of the other family", p.HostIP, f)
	}
	if what := r.Unfit(p.HostIP); what != "" {
		return fieldErrorf(p.field+".hostIP", "%s", what)
	}
	r.HostIPs = append(r.HostIPs, Given{p.field + ".hostIP", p.HostIP})
	r.append(p, hostport.Mapping{Family: f, HostIP: p.HostIP})
	return nil
}

// Unfit says why no hostPort can be at an address, whatever the node is like, "" if one can.
func (c *Config) Unfit(a netip.Addr) string {
	switch {
	case a.IsMulticast(), a == hostport.LimitedBroadcast():
		return fmt.Sprintf("%s is %s (want one of the node's own)", a, notUnicast(a))
	case a == netip.IPv6Loopback():
		return "::1 cannot be translated by the kernel; use 127.0.0.1"
	case a.IsLoopback() && !c.Template.Localhost:
		return fmt.Sprintf(`%s needs localhost access, which is off; set "localhost": true`, a)
	case a.Is6() && a.IsLinkLocalUnicast():
		return fmt.Sprintf("%s is link-local: packets to it cannot be forwarded to a pod (want a global or private address)", a)
	}
	if i := slices.IndexFunc(c.Template.Excludes, func(x netip.Prefix) bool { return x.Contains(a) }); i >= 0 {
		return fmt.Sprintf("%s is excluded by excludeCIDRs (%s); choose another address", a, c.Template.Excludes[i])
	}
	return ""
}

// append completes m from p. Exact duplicates are kept once; where a pod asks
// for one port twice with different targets the first one wins, because the
// kernel can follow only one.
func (r *Request) append(p Port, m hostport.Mapping) {
	m.Proto, m.HostPort = p.Proto, p.HostPort
	if first, twice := r.targets[m]; twice {
		again := fmt.Sprintf("%s maps hostPort %s again, to another containerPort; the first one (%d) is used; remove the other", p.field, m, first)
		if first != p.ContainerPort && !slices.Contains(r.Warnings, again) { // it is the same in both families
			r.Warnings = append(r.Warnings, again)
		}
		return
	}
	r.targets[m] = p.ContainerPort
	m.ContainerPort = p.ContainerPort
	r.Attachment.Mappings = append(r.Attachment.Mappings, m)
}
