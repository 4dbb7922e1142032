// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/finding"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/iptsave"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/nfttable"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/rules"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
)

// Codes of the plugin's own errors (finding.Errors).
const (
	CodeUnreadable     = uint(finding.Unreadable)
	CodeNotAsInstalled = uint(finding.NotAsInstalled)
	CodeApply          = uint(finding.Apply)
)

// newError makes a CNI error of what kubectl describe pod shows: one plain line. What
// else was found follows it. All errors of the plugin come from here.
func newError(code uint, msg string, more ...string) error {
	also := make([]string, 0, len(more))
	for _, m := range more {
		also = append(also, "also: "+hostport.Line(m))
	}
	return types.NewError(code, hostport.Line(msg), strings.Join(also, "; "))
}

// cniError gives err the code that its kind asks for, or else the given one.
func cniError(err error, code uint) error {
	var done *types.Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	var field *netconf.FieldError
	var config *place.ConfigError
	var dir *state.DirError
	switch {
	case passes(err):
		code = types.ErrTryAgainLater
	case errors.As(err, &dir):
		code = types.ErrIOFailure
	case errors.As(err, &field), errors.As(err, &config):
		code = types.ErrInvalidNetworkConfig
	case errors.As(err, new(undelivered)):
		code = types.ErrIOFailure
	case errors.Is(err, iptsave.ErrIncompatible):
		code = CodeUnreadable
	}
	return newError(code, told(err, code))
}

// passes reports whether trying again may help.
func passes(err error) bool {
	return errors.Is(err, state.ErrLocked) || errors.Is(err, iptables.ErrBusy) || errors.Is(err, rules.ErrChanging) ||
		errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EAGAIN)
}

// An advised error says itself what to do.
type advised struct{ error }

func (a advised) Unwrap() error { return a.error }

// told is what an error says, and what to do about it.
func told(err error, code uint) string { return err.Error() + next(err, code) }

// next says what to do about an error that does not say it itself.
func next(err error, code uint) string {
	var said advised
	var done *types.Error
	var field *netconf.FieldError
	var dir *state.DirError
	var config *place.ConfigError
	switch {
	case errors.Is(err, backend.ErrNotUndone):
		return "; delete the pod, and what is left goes too"
	case errors.As(err, new(undelivered)):
		return "; nothing is changed, the runtime must read stdout to its end"
	case errors.As(err, &said), errors.As(err, &done), errors.As(err, &field), errors.As(err, &dir), errors.As(err, &config), code == types.ErrDecodingFailure,
		errors.Is(err, iptables.ErrNoTool), errors.Is(err, iptsave.ErrIncompatible), errors.Is(err, nfttable.ErrVersion),
		errors.Is(err, walk.ErrTooComplex), errors.Is(err, place.ErrTwoProxies):
		return ""
	case errors.Is(err, walk.ErrTooLong):
		return `; remove rules, or set a longer "lockTimeout"`
	case passes(err):
		return "; try again"
	case errors.Is(err, nftconn.ErrNoTool):
		return "; install it"
	case errors.Is(err, nftconn.ErrNoKernel):
		return `; load the modules of nf_tables or use backend "iptables"`
	case errors.Is(err, unix.EROFS):
		return `; mount /proc/sys writable, or set "localhost": false and "reserve": "off"`
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "; the container runtime must run portguard as root with CAP_NET_ADMIN"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		return "; the node is short of memory or of file descriptors, free some"
	}
	return askDoctor
}

// askDoctor is said of errors that need a look at the node.
const askDoctor = `; run "portguard doctor" on the node`

// refusal is the error of an ADD that found conflicts.
func refusal(found []conflict.Finding) error {
	lines := conflict.Messages(found)
	return newError(uint(found[0].Kind), lines[0], lines[1:]...)
}
