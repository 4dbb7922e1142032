// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/portguard/portguard/pkg/addrset"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
)

// Defaults of the configuration keys.
const (
	DefaultDataDir     = "/run/cni/portguard"
	DefaultCacheDir    = "/var/lib/cni"
	DefaultPodLogsDir  = "/var/log/pods"
	DefaultLockTimeout = 10 * time.Second
	DefaultClaimWait   = 5 * time.Second
)

// A Config is the network configuration, checked and with defaults filled in.
type Config struct {
	Name       string
	CNIVersion string

	// Backend is "auto", "iptables" or "nftables". Syntax is the language of the
	// conditions, one of the last two, or "" without conditions.
	Backend string
	Syntax  string
	// Template is what the configuration says of every attachment: it has neither owner
	// nor pod nor mappings.
	Template hostport.Attachment
	// Protected are the ports that no pod gets, whatever the policy.
	Protected []hostport.Ports
	// WarnOnly is conflictPolicy "warn": conflicts are reported, not refused.
	WarnOnly    bool
	LockTimeout time.Duration
	// ClaimWait is how long an ADD waits for other pods that have its ports.
	ClaimWait time.Duration
	DataDir   string
	// CacheDir is libcni's, PodLogsDir the kubelet's.
	CacheDir   string
	PodLogsDir string

	// Ports are the entries of runtimeConfig.portMappings.
	Ports []Port
	// Capable is set if the configuration declares the capability portMappings.
	Capable bool
	// Notes are remarks for the administrator, printed once.
	Notes []string

	prevResult json.RawMessage
}

// A FieldError says which field of the configuration is wrong, and how.
type FieldError struct {
	Field   string
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

//go:noinline // it is called from many places
func fieldErrorf(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// Parse reads the configuration of an ADD or a CHECK. The error is a
// *FieldError for everything but broken JSON.
func Parse(stdin []byte) (*Config, error) {
	w := &wire{
		Backend: place.Auto, SNAT: true, ConflictPolicy: "fail", Reserve: "auto",
		LockTimeout: DefaultLockTimeout.String(), ClaimWait: DefaultClaimWait.String(),
		DataDir: DefaultDataDir, CacheDir: DefaultCacheDir, PodLogsDir: DefaultPodLogsDir,
	}
	var all given
	if err := decode(stdin, "", &all); err != nil {
		return nil, err
	}
	for _, k := range w.keys() {
		if err := all.into(k.name, k.to); err != nil {
			return nil, err
		}
	}
	c := &Config{
		Name: w.Name, CNIVersion: w.CNIVersion, Capable: w.Capabilities["portMappings"], Backend: w.Backend,
		Template: hostport.Attachment{SNAT: w.SNAT, MasqAll: w.MasqAll && w.SNAT, Localhost: w.SNAT},
	}
	if w.Localhost != nil {
		c.Template.Localhost = *w.Localhost
	}
	if w.PrevResult != nil {
		c.prevResult = *w.PrevResult
	}
	for _, step := range []func(*wire) error{
		c.setBackend, c.setConditions, c.setMasquerade, c.setPolicy, c.setReserve, c.setExcludes, c.setExcludeInterfaces, c.setProtected, c.setTimes, c.setPaths, c.setPorts,
	} {
		if err := step(w); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Config) setBackend(*wire) error {
	known := place.Wishes()
	if slices.Contains(known, c.Backend) {
		return nil
	}
	last := len(known) - 1
	return fieldErrorf("backend", `%q is not a backend (want "%s" or %q)`, c.Backend, strings.Join(known[:last], `", "`), known[last])
}

func (c *Config) setMasquerade(w *wire) error {
	bit, chain := w.MarkMasqBit, w.ExternalSetMarkChain
	if bit != nil && chain != nil {
		return fieldErrorf("markMasqBit", "%d cannot be given together with externalSetMarkChain %q (want one of them, or none)", *bit, *chain)
	}
	if chain != nil && c.Backend == place.NFTables {
		return fieldErrorf("externalSetMarkChain", "%q is for iptables and the backend is %q; leave it out", *chain, c.Backend)
	}
	if bit != nil && (*bit < 0 || *bit > 31) {
		return fieldErrorf("markMasqBit", "%d is not a bit of the packet mark (0-31)", *bit)
	}
	if bit != nil {
		c.Notes = append(c.Notes, "markMasqBit is not needed and has no effect: portguard sets no packet marks")
	}
	if chain != nil {
		c.Notes = append(c.Notes, "externalSetMarkChain is not needed and has no effect: portguard sets no packet marks")
	}
	return nil
}

func (c *Config) setPolicy(w *wire) error {
	if c.WarnOnly = w.ConflictPolicy == "warn"; !c.WarnOnly && w.ConflictPolicy != "fail" {
		return fieldErrorf("conflictPolicy", `%q is not a policy (want "fail" or "warn")`, w.ConflictPolicy)
	}
	return nil
}

func (c *Config) setReserve(w *wire) error {
	switch r := hostport.Reserve(w.Reserve); r {
	case hostport.ReserveOff, hostport.ReserveRequire:
		c.Template.Reserve = r
	case "auto":
	default:
		return fieldErrorf("reserve", `%q is not a choice (want "auto", "off" or "require")`, w.Reserve)
	}
	return nil
}

func (c *Config) setProtected(w *wire) error {
	for i, s := range w.ProtectedPorts {
		p, err := hostport.ParsePorts(string(s))
		if err != nil {
			return &FieldError{Field: fmt.Sprintf("protectedPorts[%d]", i), Problem: err.Error()}
		}
		c.Protected = append(c.Protected, p)
	}
	return nil
}

func (c *Config) setExcludes(w *wire) error {
	all := map[bool]addrset.Set{} // by whether it is IPv4
	for i, s := range w.ExcludeCIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil || a.Zone() != "" {
				return fieldErrorf(fmt.Sprintf("excludeCIDRs[%d]", i), `%q is neither a CIDR nor an address (want such as "192.0.2.0/24" or "2001:db8::1")`, s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4In6() {
			return fieldErrorf(fmt.Sprintf("excludeCIDRs[%d]", i), "%q is a v4-mapped address; write it as IPv4", s)
		}
		v4 := p.Addr().Is4()
		if all[v4] = all[v4].Or(addrset.Of(p.Masked())); len(all[v4].Not(v4)) == 0 {
			return fieldErrorf(fmt.Sprintf("excludeCIDRs[%d]", i), "%q leaves no %s address to map; name only what is to be left alone", s, hostport.FamilyOf(p.Addr()))
		}
		c.Template.Excludes = append(c.Template.Excludes, p.Masked())
	}
	return nil
}

func (c *Config) setExcludeInterfaces(w *wire) error {
	for i, name := range w.ExcludeInterfaces {
		if err := hostport.CheckLinks(name); err != nil {
			return &FieldError{Field: fmt.Sprintf("excludeInterfaces[%d]", i), Problem: err.Error()}
		}
		c.Template.ExcludeInterfaces = append(c.Template.ExcludeInterfaces, name)
	}
	return nil
}

func (c *Config) setTimes(w *wire) error {
	var err error
	if c.LockTimeout, err = time.ParseDuration(w.LockTimeout); err != nil || c.LockTimeout <= 0 {
		return fieldErrorf("lockTimeout", `%q is not a positive duration (want such as "10s" or "1m30s")`, w.LockTimeout)
	}
	if c.ClaimWait, err = time.ParseDuration(w.ClaimWait); err != nil || c.ClaimWait < 0 {
		return fieldErrorf("claimWait", `%q is not a duration (want such as "5s", or "0s" for none)`, w.ClaimWait)
	}
	return nil
}

func (c *Config) setPaths(w *wire) error {
	for _, d := range []struct {
		field, value string
		into         *string
	}{{"dataDir", w.DataDir, &c.DataDir}, {"cacheDir", w.CacheDir, &c.CacheDir}, {"podLogsDir", w.PodLogsDir, &c.PodLogsDir}} {
		var ok bool
		if *d.into, ok = Directory(d.value); !ok {
			return fieldErrorf(d.field, "%q is not an absolute path of a directory other than /", d.value)
		}
	}
	return nil
}

// Directory cleans a path, and reports whether it may be one of a directory of ours.
func Directory(s string) (dir string, ok bool) {
	dir = filepath.Clean(s)
	return dir, filepath.IsAbs(s) && dir != "/" && !strings.ContainsFunc(s, unicode.IsControl)
}
