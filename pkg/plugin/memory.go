// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/state"
)

// A memory lets an ADD know what an earlier one has read of the rules, if there was
// no transaction in between but those of portguard that changed elements of its own
// sets only. Nil remembers nothing.
type memory struct {
	store *state.Store
	boot  func() string
	// node is the boot and the network namespace, "" if they cannot be told; purpose
	// is what the rules were read for.
	node, purpose string
	recalled      bool
	// distrusted means that what is remembered must not be recalled.
	distrusted bool
}

func (p *Plugin) memory(store *state.Store) *memory {
	return &memory{store: store, boot: p.bootID}
}

// recall gives a reader what was remembered of a generation.
func (m *memory) recall(r *nft.Reader, generation uint32, on *host.Addressing, ms []hostport.Mapping) {
	if m == nil {
		return
	}
	m.recalled = false
	if generation == 0 || !m.locate(r) { // the kernel's numbers leave 0 out
		return
	}
	if m.purpose = purpose(on, ms); m.purpose == "" {
		return
	}
	if b := m.store.Recall(generation, m.node, m.purpose); b != nil && !m.distrusted {
		if told, err := nft.DecodeMemory(b); err == nil {
			r.Recall(told)
			m.recalled = true
		}
	}
}

// purpose is what the reader's choice of rules depends on: this program (wanted and
// hostport.Concerns may be others in the next one) and the addresses. Those of the
// links of pods, which are new with every pod, do not count: Concerns keeps what is
// for any link-local address. It is "" if the program cannot be told.
func purpose(on *host.Addressing, ms []hostport.Mapping) string {
	var st unix.Stat_t
	if unix.Stat("/proc/self/exe", &st) != nil {
		return ""
	}
	words := []string{fmt.Sprint("program ", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())}
	for _, l := range on.Local {
		if !l.Prefix.Addr().Is6() || !l.Prefix.Addr().IsLinkLocalUnicast() {
			words = append(words, l.Prefix.String())
		}
	}
	for _, x := range ms {
		if x.HostIP.IsValid() {
			words = append(words, x.HostIP.String())
		}
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " ")
}

// forget makes the next look ask for everything, and reports whether the last one did
// not.
func (m *memory) forget() bool {
	if m == nil || !m.recalled {
		return false
	}
	m.distrusted = true
	return true
}

// locate finds out where the rules are, which needs Linux 5.14.
func (m *memory) locate(r *nft.Reader) bool {
	if m.node == "" {
		ns, err := r.Netns()
		if boot := m.boot(); err == nil && boot != "" {
			m.node = fmt.Sprint(boot, " ", ns)
		}
	}
	return m.node != ""
}

// remember keeps what a reader was told. That it cannot is no failure.
func (m *memory) remember(r *nft.Reader, generation uint32) {
	if m == nil || generation == 0 || m.node == "" || m.purpose == "" {
		return
	}
	if told, news := r.Heard(); news {
		_ = m.store.Remember(generation, m.node, m.purpose, told.Encode())
	}
}

// carry returns what is to be called after a transaction that changed nothing but
// elements: if no other came in between, what was remembered is still true.
func (m *memory) carry(r *nft.Reader) func() {
	if m == nil || !m.store.Remembers() || !m.locate(r) {
		return func() {}
	}
	before, err := r.Generation()
	return func() {
		if after, aerr := r.Generation(); err == nil && aerr == nil && after == before+1 {
			_ = m.store.Carry(before, after, m.node)
		}
	}
}
