// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/place"
)

// Defaults of the configuration keys.
const (
	DefaultDataDir     = "/run/cni/portguard"
	DefaultCacheDir    = "/var/lib/cni"
	DefaultLockTimeout = 10 * time.Second
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
	// WarnOnly is conflictPolicy "warn": conflicts are reported, not refused.
	WarnOnly    bool
	LockTimeout time.Duration
	DataDir     string
	// CacheDir is libcni's.
	CacheDir string

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

func fieldErrorf(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// wire is the JSON as written; read fills it. The first eight keys are portmap's.
type wire struct {
	CNIVersion           string          `json:"cniVersion"`
	Name                 string          `json:"name"`
	Backend              *string         `json:"backend"`
	SNAT                 *bool           `json:"snat"`
	MasqAll              bool            `json:"masqAll"`
	ConditionsV4         []string        `json:"conditionsV4"`
	ConditionsV6         []string        `json:"conditionsV6"`
	MarkMasqBit          *int            `json:"markMasqBit"`
	ExternalSetMarkChain *string         `json:"externalSetMarkChain"`
	ConflictPolicy       *string         `json:"conflictPolicy"`
	Localhost            *bool           `json:"localhost"`
	ExcludeCIDRs         []string        `json:"excludeCIDRs"`
	LockTimeout          *string         `json:"lockTimeout"`
	DataDir              *string         `json:"dataDir"`
	CacheDir             *string         `json:"cacheDir"`
	RuntimeConfig        runtime         `json:"runtimeConfig"`
	Capabilities         map[string]bool `json:"capabilities"`
	PrevResult           rawObject       `json:"prevResult"`
}

type runtime struct {
	PortMappings []json.RawMessage `json:"portMappings"`
}

// rawObject keeps JSON as written and reads null as absent.
type rawObject json.RawMessage

func (r *rawObject) UnmarshalJSON(b []byte) error {
	if !bytes.Equal(b, []byte("null")) {
		*r = append((*r)[:0], b...)
	}
	return nil
}

// Parse reads the configuration of an ADD or a CHECK. The error is a
// *FieldError for everything but broken JSON.
func Parse(stdin []byte) (*Config, error) {
	w, err := read(stdin)
	if err != nil {
		return nil, err
	}
	c := &Config{Name: w.Name, CNIVersion: w.CNIVersion, Capable: w.Capabilities["portMappings"], prevResult: json.RawMessage(w.PrevResult)}
	snat := w.SNAT == nil || *w.SNAT
	c.Template = hostport.Attachment{SNAT: snat, MasqAll: w.MasqAll && snat, Localhost: snat}
	if w.Localhost != nil {
		c.Template.Localhost = *w.Localhost
	}
	for _, step := range []func(*wire) error{
		c.setBackend, c.setConditions, c.setMasquerade, c.setPolicy, c.setExcludes, c.setPaths, c.setPorts,
	} {
		if err := step(w); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Config) setBackend(w *wire) error {
	c.Backend = place.Auto
	if w.Backend != nil {
		c.Backend = *w.Backend
	}
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
	if w.ConflictPolicy == nil {
		return nil
	}
	switch *w.ConflictPolicy {
	case "fail":
	case "warn":
		c.WarnOnly = true
	default:
		return fieldErrorf("conflictPolicy", `%q is not a policy (want "fail" or "warn")`, *w.ConflictPolicy)
	}
	return nil
}

func (c *Config) setExcludes(w *wire) error {
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
		c.Template.Excludes = append(c.Template.Excludes, p.Masked())
	}
	return nil
}

func (c *Config) setPaths(w *wire) error {
	c.LockTimeout, c.DataDir, c.CacheDir = DefaultLockTimeout, DefaultDataDir, DefaultCacheDir
	if w.LockTimeout != nil {
		d, err := time.ParseDuration(*w.LockTimeout)
		if err != nil || d <= 0 {
			return fieldErrorf("lockTimeout", `%q is not a positive duration (want such as "10s" or "1m30s")`, *w.LockTimeout)
		}
		c.LockTimeout = d
	}
	for _, d := range []struct {
		field string
		value *string
		into  *string
	}{{"dataDir", w.DataDir, &c.DataDir}, {"cacheDir", w.CacheDir, &c.CacheDir}} {
		if d.value == nil {
			continue
		}
		if !filepath.IsAbs(*d.value) || filepath.Clean(*d.value) == "/" {
			return fieldErrorf(d.field, "%q is not an absolute path of a directory other than /", *d.value)
		}
		*d.into = filepath.Clean(*d.value)
	}
	return nil
}
