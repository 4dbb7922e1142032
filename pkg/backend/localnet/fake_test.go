// SPDX-License-Identifier: Apache-2.0

package localnet

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
)

var errInjected = errors.New("injected")

// A node is a fake of what is behind the seams: sysctls and guards. It notes each change
// in order, and fails at the one that comes after so many, or at all from there on.
type node struct {
	on      map[string]bool
	guards  map[string]map[string]Link
	done    []string
	failAt  int
	forever bool
}

func newNode(links ...string) *node {
	n := &node{on: map[string]bool{}, guards: map[string]map[string]Link{"nft": {}, "ipt": {}}, failAt: -1}
	for _, l := range links {
		n.on[l] = false
	}
	return n
}

// change notes one, or fails.
func (n *node) change(format string, args ...any) error {
	if n.failAt == 0 {
		if !n.forever {
			n.failAt = -1
		}
		return errInjected
	}
	n.failAt--
	n.done = append(n.done, fmt.Sprintf(format, args...))
	return nil
}

func (n *node) RouteLocalnet(link string) (bool, error) {
	on, ok := n.on[link]
	if !ok {
		return false, fmt.Errorf("link %s: %w", link, fs.ErrNotExist)
	}
	return on, nil
}

func (n *node) SetRouteLocalnet(link string, on bool) error {
	if _, err := n.RouteLocalnet(link); err != nil {
		return err
	}
	err := n.change("%s %t", link, on)
	if err == nil {
		n.on[link] = on
	}
	return err
}

// backend is that of the node, with a guard for what comes.
func (n *node) backend(into string, records ...hostport.Attachment) *Backend {
	b := New(n, guard{n, into}, guard{n, "nft"}, guard{n, "ipt"})
	b.Records = func() []hostport.Attachment { return records }
	return b
}

// picture is all that is on the node.
func (n *node) picture() string {
	var out []string
	for link, on := range n.on {
		out = append(out, fmt.Sprintf("%s is %t", link, on))
	}
	for name, links := range n.guards {
		for link, l := range links {
			out = append(out, fmt.Sprintf("%s guards %s, was %t, for %v", name, link, l.Was, l.Users))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

type guard struct {
	n    *node
	name string
}

func (g guard) Name() string { return g.name }

func (g guard) Load() (map[string]Link, error) { return maps.Clone(g.n.guards[g.name]), nil }

func (g guard) Apply(have, want map[string]Link) error {
	if !maps.EqualFunc(have, g.n.guards[g.name], func(a, b Link) bool { return a.Was == b.Was && slices.Equal(a.Users, b.Users) }) {
		return fmt.Errorf("guard %s is told it has %v", g.name, have)
	}
	err := g.n.change("guard %s %v", g.name, slices.Sorted(maps.Keys(want)))
	if err == nil {
		g.n.guards[g.name] = maps.Clone(want)
		for name, l := range want {
			l.Broken = nil
			g.n.guards[g.name][name] = l
		}
	}
	return err
}

// pod is an attachment that needs route_localnet of a link.
func pod(id, addr, link string, was bool) hostport.Attachment {
	return hostport.Attachment{Owner: hostport.Owner{Network: "net", ContainerID: id, IfName: "eth0"},
		Pods: []netip.Prefix{netip.MustParsePrefix(addr + "/16")}, Localhost: true, Link: link, LocalnetWas: was}
}

// apply changes the node as a verb would.
func apply(b *Backend, change func(backend.State) backend.State) error {
	have, err := b.Load()
	if err == nil {
		err = b.Apply(have, change(have))
	}
	return err
}

func add(a hostport.Attachment, instead ...hostport.Key) func(backend.State) backend.State {
	return func(s backend.State) backend.State { return s.With(a, instead...) }
}

func del(as ...hostport.Attachment) func(backend.State) backend.State {
	var keys []hostport.Key
	for _, a := range as {
		keys = append(keys, a.Owner.Key())
	}
	return func(s backend.State) backend.State { return s.Without(keys...) }
}
