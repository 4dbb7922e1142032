// SPDX-License-Identifier: Apache-2.0

// Package hostport is the vocabulary of portguard: protocols, families,
// mappings, owners and attachments. It does no I/O, and of our own
// packages it imports only addrset.
package hostport
