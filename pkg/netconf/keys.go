// SPDX-License-Identifier: Apache-2.0

package netconf

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// wire is the JSON as written, over the defaults.
type wire struct {
	CNIVersion, Name, Backend       string
	SNAT, MasqAll                   bool
	ConditionsV4, ConditionsV6      []string
	MarkMasqBit                     *int
	ExternalSetMarkChain            *string
	ConflictPolicy, Reserve         string
	Localhost                       *bool
	ExcludeCIDRs, ExcludeInterfaces []string
	ProtectedPorts                  []protected
	LockTimeout, ClaimWait          string
	DataDir, CacheDir, PodLogsDir   string
	RuntimeConfig                   runtime
	Capabilities                    map[string]bool
	// PrevResult is as written; null is none.
	PrevResult *json.RawMessage
}

// A key is one of the configuration, and where its value goes.
type key struct {
	name string
	to   any
}

// keys are all of them; those from backend to externalSetMarkChain are portmap's. They are
// decoded one by one: to decode a struct of so many fields, encoding/json first makes a plan
// that takes longer than everything else that a pod without hostPorts needs.
func (w *wire) keys() []key {
	return []key{
		{"cniVersion", &w.CNIVersion},
		{"name", &w.Name},
		{"backend", &w.Backend},
		{"snat", &w.SNAT},
		{"masqAll", &w.MasqAll},
		{"conditionsV4", &w.ConditionsV4},
		{"conditionsV6", &w.ConditionsV6},
		{"markMasqBit", &w.MarkMasqBit},
		{"externalSetMarkChain", &w.ExternalSetMarkChain},
		{"conflictPolicy", &w.ConflictPolicy},
		{"reserve", &w.Reserve},
		{"localhost", &w.Localhost},
		{"excludeCIDRs", &w.ExcludeCIDRs},
		{"excludeInterfaces", &w.ExcludeInterfaces},
		{"protectedPorts", &w.ProtectedPorts},
		{"lockTimeout", &w.LockTimeout},
		{"claimWait", &w.ClaimWait},
		{"dataDir", &w.DataDir},
		{"cacheDir", &w.CacheDir},
		{"podLogsDir", &w.PodLogsDir},
		{"runtimeConfig", &w.RuntimeConfig},
		{"capabilities", &w.Capabilities},
		{"prevResult", &w.PrevResult},
	}
}

// protected is an entry of protectedPorts: a string, or what stands there, such as 22.
type protected string

func (p *protected) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, (*string)(p)) != nil {
		*p = protected(b)
	}
	return nil
}

type runtime struct {
	PortMappings []json.RawMessage `json:"portMappings"`
}

// given are the keys of an object, as written, with their values.
type given map[string]json.RawMessage

// into decodes the value of a key, if there is one. Keys are taken in any case, as
// encoding/json and so portmap do.
func (g given) into(key string, to any) error {
	found := false
	for k, value := range g {
		if !strings.EqualFold(k, key) {
			continue
		}
		if found {
			return fieldErrorf(key, "is given twice, in different case; leave one of them out")
		}
		if err := decode(value, key, to); err != nil {
			return err
		}
		found = true
	}
	return nil
}

// Unknown are the keys of an entry of a conflist that mean nothing, neither to portguard
// nor to CNI.
func Unknown(entry []byte) (out []string) {
	known := []string{"type", "args", "dns", "ipam"}
	for _, k := range new(wire).keys() {
		known = append(known, k.name)
	}
	var given map[string]json.RawMessage
	_ = json.Unmarshal(entry, &given)
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, key) }) {
			out = append(out, key)
		}
	}
	return out
}
