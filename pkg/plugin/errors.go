// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/conflict"
	"github.com/portguard/portguard/pkg/iptables"
	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/state"
)

// Codes of the plugin's own errors besides those of conflicts, which are the
// conflict.Kind (100-108).
const (
	// CodeUnreadable: something on the node could not be read, so the port
	// cannot be called free.
	CodeUnreadable uint = 109
	// CodeNotAsInstalled: CHECK found that something is lost.
	CodeNotAsInstalled uint = 110
	// CodeApply: the rules could not be changed; they are as before.
	CodeApply uint = 111
)

// cniError gives err the code that its kind asks for, or else the given one.
func cniError(err error, code uint) error {
	var done *types.Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	var field *netconf.FieldError
	switch {
	case errors.As(err, &field):
		code = types.ErrInvalidNetworkConfig
	case errors.Is(err, state.ErrLocked), errors.Is(err, iptables.ErrBusy), errors.Is(err, unix.EBUSY), errors.Is(err, unix.EAGAIN), errors.Is(err, errChanging):
		code = types.ErrTryAgainLater
	}
	return types.NewError(code, err.Error(), "")
}

// refusal is the error of an ADD that found conflicts. Its first line is what
// kubectl describe pod shows.
func refusal(found []conflict.Finding) error {
	lines := conflict.Messages(found)
	details := ""
	if len(lines) > 1 {
		details = strings.Join(lines, "\n")
	}
	return types.NewError(uint(found[0].Kind), lines[0], details)
}
