// SPDX-License-Identifier: Apache-2.0

// Package place decides where an attachment belongs. It is pure, and the only code that
// chooses among the backends.
package place

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/hostport"
)

// What a configuration may ask for besides NFTables: a choice, and iptables of either
// flavour.
const (
	Auto     = "auto"
	IPTables = "iptables"
)

// Wishes are what "backend" of a configuration may be.
func Wishes() []string { return []string{Auto, IPTables, NFTables} }

// Names of the backends that hold mappings. NFTables is a wish too.
const (
	NFTables       = "nftables"
	IptablesNFT    = "iptables-nft"
	IptablesLegacy = "iptables-legacy"
)

// Mappers are the backends that hold mappings; an attachment is in one of them. The
// other backends keep what goes with mappings in any of them.
func Mappers() []string { return []string{IptablesNFT, IptablesLegacy, NFTables} }

// Has reports whether an attachment whose mappings are in where needs something in
// backend: that is where itself, or one that holds no mappings.
func Has(backend, where string) bool {
	return backend == where || !slices.Contains(Mappers(), backend)
}

// A Wish is what the configuration asks for: the backend ("auto", "iptables" or
// "nftables") and the language of the conditions, "" without conditions.
type Wish struct {
	Backend, Syntax string
	// Now is the name of the backend that has the attachment, "" if none has.
	Now string
}

// Facts are what the node is like.
type Facts struct {
	// IPVS is set if kube-proxy is in ipvs mode.
	IPVS bool
	// NFTables asks why the kernel cannot hold our table, nil if it can; it fails if the
	// kernel does not say. NFTProgram tells whether the nft program is there, which alone
	// can read conditions. Both are asked only where it matters.
	NFTables   func() (lacks, err error)
	NFTProgram func() bool
	// Iptables is asked only where iptables is needed.
	Iptables func() (Iptables, error)
	// Followed are the families in which an ipset holds the addresses of Services.
	Followed []hostport.Family
}

// Iptables tells the flavours ("nft", "legacy") apart.
type Iptables struct {
	// KubeProxy are those with its rules, Hint those with the kubelet's hint
	// (KUBE-IPTABLES-HINT, pkg/kubelet/kubelet_network_linux.go).
	KubeProxy, Hint []string
	// Native is set if kube-proxy is in nftables mode.
	Native bool
	// Default is what plain iptables is.
	Default func() (string, error)
}

// A Choice is where an attachment belongs, and why.
type Choice struct {
	Backend, Why string
	// Warning is what cannot be kept there, "" if all can.
	Warning string
}

// A ConfigError is a configuration that this node cannot serve.
type ConfigError struct{ error }

func (e *ConfigError) Unwrap() error { return e.error }

func configErrorf(format string, args ...any) error {
	return &ConfigError{fmt.Errorf(format, args...)}
}

// ErrTwoProxies means that there is no place behind kube-proxy: the flavours' nat
// chains run one after the other.
var ErrTwoProxies = errors.New("both iptables-legacy and iptables-nft hold kube-proxy rules, so there is no place behind both; " +
	"flush those of the flavour that kube-proxy no longer uses")

// Of says where an attachment belongs. In kube-proxy's ipvs mode every Service's
// address is one of the node's, and an ACCEPT protects a Service only from later rules of
// the same table, so there only iptables will do.
func Of(w Wish, f Facts) (Choice, error) {
	switch {
	case w.Backend == IPTables:
		return iptables(w, f, "the configuration names it")
	case w.Backend == NFTables:
		return nftables(w, f, "the configuration names it")
	case w.Syntax == IPTables:
		return iptables(w, f, "the conditions are in its syntax")
	case w.Syntax == NFTables:
		return nftables(w, f, "the conditions are in its syntax")
	case f.IPVS:
		return iptables(w, f, "kube-proxy is in ipvs mode")
	}
	switch lacks, err := f.NFTables(); {
	case err != nil:
		return Choice{}, err
	case lacks != nil:
		return iptables(w, f, lacks.Error())
	}
	return Choice{Backend: NFTables, Why: "the kernel has nf_tables and kube-proxy is not in ipvs mode"}, nil
}

// nftables is chosen by the configuration, in the name of the backend or the syntax of
// its conditions.
func nftables(w Wish, f Facts, why string) (Choice, error) {
	named := w.Backend == NFTables
	lacks, err := f.NFTables()
	switch {
	case err != nil:
		return Choice{}, err
	case f.IPVS && named:
		return Choice{}, configErrorf(`backend "nftables" cannot spare the Services of kube-proxy's ipvs mode; use "auto" or "iptables"`)
	case f.IPVS:
		return Choice{}, configErrorf("conditions in the syntax of nftables need the backend nftables, which cannot spare the Services of kube-proxy's ipvs mode; write them for iptables")
	case lacks != nil && named:
		return Choice{}, configErrorf(`backend "nftables" does not work on this node: %w; use "auto" or "iptables"`, lacks)
	case lacks != nil:
		return Choice{}, configErrorf("conditions in the syntax of nftables need the backend nftables: %w; write them for iptables", lacks)
	case w.Syntax == NFTables && !f.NFTProgram():
		return Choice{}, configErrorf("conditions in the syntax of nftables need the nft program; install it or write them for iptables")
	}
	return Choice{Backend: NFTables, Why: why}, nil
}

// iptables chooses the flavour: that of kube-proxy, or of the kubelet's hint, or the one
// that has the attachment, or that of plain iptables.
func iptables(w Wish, f Facts, why string) (Choice, error) {
	on, err := f.Iptables()
	if err != nil {
		return Choice{}, err
	}
	flavour := Order(w.Now).Flavour
	switch {
	case len(on.KubeProxy) > 1:
		return Choice{}, ErrTwoProxies
	case len(on.KubeProxy) == 1:
		flavour = on.KubeProxy[0]
	case len(on.Hint) == 1:
		flavour = on.Hint[0]
	case flavour == "":
		if flavour, err = on.Default(); err != nil {
			return Choice{}, err
		}
	}
	choice := Choice{Backend: ofFlavour + flavour, Why: why}
	if on.Native {
		choice.Warning = Unordered(choice.Backend) + `; use "backend": "auto", and conditions in the syntax of nftables`
	}
	return choice, nil
}

// Unordered says that nobody knows the order of mappings in iptables and of kube-proxy's own
// table. Their base chains have one priority, so the kernel asks those first that were
// registered last (nf_hook_entries_grow in net/netfilter/core.c), and tells nobody which
// these are: NAT keeps a list of its own, which no dump shows (nf_nat_register_fn).
func Unordered(backend string) string {
	return fmt.Sprintf("mappings in %s and kube-proxy's nftables mode are at one priority (%d), and nobody can tell which is asked first: a Service made later may lose its traffic to a pod", backend, conflict.PrioIptables)
}

// A backend of iptables is named ofFlavour plus its flavour.
const ofFlavour = "iptables-"

// Order is where the mappings that a backend holds stand among others' rules.
func Order(name string) conflict.Place {
	if flavour, ok := strings.CutPrefix(name, ofFlavour); ok {
		return conflict.Place{Flavour: flavour}
	}
	return conflict.Place{}
}

// Syntax tells the language of an attachment's conditions, as in a configuration.
func Syntax(a hostport.Attachment) string {
	words := slices.Concat(a.ConditionsV4, a.ConditionsV6)
	switch {
	case len(words) == 0 || words[0] == "":
		return ""
	case words[0][0] == '-' || words[0][0] == '!':
		return IPTables
	}
	return NFTables
}

// Instead is what to ask for when the kernel turns out to lack what the chosen backend
// needs. It is not ok where somebody asked for that backend, or for its conditions.
func Instead(wanted, syntax string) (other string, ok bool) {
	return IPTables, wanted == Auto && syntax == ""
}
