// SPDX-License-Identifier: Apache-2.0

// Package netconf turns what a runtime hands to the plugin (standard input and
// the CNI variables) into a validated request. It is pure: no file, no socket,
// no clock.
package netconf
