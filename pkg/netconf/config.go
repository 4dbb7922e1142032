// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"time"
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
	Backend      string
	Syntax       string
	SNAT         bool
	MasqAll      bool
	Localhost    bool
	ConditionsV4 []string
	ConditionsV6 []string
	Excludes     []netip.Prefix
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
	c := &Config{Name: w.Name, CNIVersion: w.CNIVersion, MasqAll: w.MasqAll, Capable: w.Capabilities["portMappings"], prevResult: json.RawMessage(w.PrevResult)}
	c.SNAT = w.SNAT == nil || *w.SNAT
	c.Localhost = c.SNAT
	if w.Localhost != nil {
		c.Localhost = *w.Localhost
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

// read decodes the keys that are there, one by one: encoding/json would first prepare
// itself for all that might be, at every start. Like it, read takes a key in other
// case if there is none in this one.
func read(stdin []byte) (*wire, error) {
	var given map[string]json.RawMessage
	if err := decode(stdin, "", &given); err != nil {
		return nil, err
	}
	w := &wire{}
	fields := reflect.ValueOf(w).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Tag.Get("json")
		if raw, ok := lookUp(given, name); ok {
			if err := decode(raw, name, fields.Field(i).Addr().Interface()); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

func lookUp(given map[string]json.RawMessage, name string) (json.RawMessage, bool) {
	if raw, ok := given[name]; ok {
		return raw, true
	}
	found := ""
	for k := range given { // the first of several, as their order is not known
		if strings.EqualFold(k, name) && (found == "" || k < found) {
			found = k
		}
	}
	if found == "" {
		return nil, false
	}
	return given[found], true
}

// decode unmarshals b into v and turns a type mismatch into a FieldError below
// prefix.
func decode(b []byte, prefix string, v any) error {
	err := json.Unmarshal(b, v)
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		field := strings.Trim(prefix+"."+te.Field, ".")
		if field == "" {
			field = "network configuration"
		}
		return fieldErrorf(field, "%s (want %s)", misread(valueAt(b, te.Field), jsonKind(te.Value)), jsonKind(te.Type.String()))
	}
	if err != nil {
		return fmt.Errorf("the network configuration is not valid JSON: %w; correct the conflist", err)
	}
	return nil
}

// misread says what a value is, or what within it is wrong.
func misread(given, kind string) string {
	switch {
	case given == "true" || given == "false":
		return given + " is of the wrong type"
	case strings.ContainsAny(given[:1], "[{") && kind != "a list" && kind != "an object":
		return given + " holds " + kind
	}
	return given + " is " + kind
}

// valueAt is the value at a path of keys, cut to what fits in an error.
func valueAt(b []byte, path string) string {
	const most = 60
	for key := range strings.SplitSeq(path, ".") {
		var object map[string]json.RawMessage
		if json.Unmarshal(b, &object) != nil || object[key] == nil {
			break
		}
		b = object[key]
	}
	var out bytes.Buffer
	if json.Compact(&out, b) != nil || out.Len() == 0 {
		return "the value"
	}
	if out.Len() > most {
		return strings.ToValidUTF8(out.String()[:most], "") + "..."
	}
	return out.String()
}

// jsonKind says a type of Go, or what encoding/json calls a value, in the words of
// JSON.
func jsonKind(name string) string {
	switch {
	case strings.HasPrefix(name, "[]"), name == "array":
		return "a list"
	case strings.HasPrefix(name, "int"):
		return "a whole number"
	case strings.HasPrefix(name, "number"):
		return "a number"
	case name == "bool":
		return "true or false"
	case name == "string":
		return "a string"
	}
	return "an object"
}

// Backends and languages of conditions.
const (
	Auto     = "auto"
	IPTables = "iptables"
	NFTables = "nftables"
)

func (c *Config) setBackend(w *wire) error {
	c.Backend = Auto
	if w.Backend != nil {
		c.Backend = *w.Backend
	}
	switch c.Backend {
	case Auto, IPTables, NFTables:
		return nil
	}
	return fieldErrorf("backend", `%q is not a backend (want "auto", "iptables" or "nftables")`, c.Backend)
}

func (c *Config) setMasquerade(w *wire) error {
	bit, chain := w.MarkMasqBit, w.ExternalSetMarkChain
	if bit != nil && chain != nil {
		return fieldErrorf("markMasqBit", "%d cannot be given together with externalSetMarkChain %q (want one of them, or none)", *bit, *chain)
	}
	if chain != nil && c.Backend == NFTables {
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
		c.Excludes = append(c.Excludes, p.Masked())
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
