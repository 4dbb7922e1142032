// SPDX-License-Identifier: Apache-2.0

package hostport

// A Life says whether an owner is alive.
type Life uint8

const (
	// Alive is an owner whose network namespace is there.
	Alive Life = iota
	// Dead is certain. It alone frees a port.
	Dead
	// Unknown means that nobody can tell from here.
	Unknown
)
