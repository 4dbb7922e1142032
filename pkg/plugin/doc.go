// SPDX-License-Identifier: Apache-2.0

// Package plugin is what the CNI verbs do: read the request, take the lock,
// look, decide, record, apply once, answer.
package plugin
