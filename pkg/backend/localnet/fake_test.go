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

// A node is a fake of what is behind the seams: sysctls and guards, and who has mappings
// that need a link. It notes each change in order, and fails at the one that comes after
// so many, or at all from there on.
type node struct {
	on      map[string]bool
	guards  map[string]map[string]Link
	users   map[string]map[hostport.Key]bool
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

func (n *node) MaySet(link string) error {
	_, err := n.RouteLocalnet(link)
	return err
}

// backend is that of the node, with a guard for what comes.
func (n *node) backend(into string, records ...hostport.Attachment) *Backend {
	b := New(n, guard{n, into}, guard{n, "nft"}, guard{n, "ipt"})
	b.Users = func() map[string][]hostport.Key {
		out := map[string][]hostport.Key{}
		for link, keys := range n.users {
			out[link] = slices.Collect(maps.Keys(keys))
		}
		return out
	}
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
		for link := range links {
			out = append(out, fmt.Sprintf("%s guards %s", name, link))
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
	if !equal(have, g.n.guards[g.name]) {
		return fmt.Errorf("guard %s is told it has %v", g.name, have)
	}
	err := g.n.change("guard %s %v", g.name, slices.Sorted(maps.Keys(want)))
	if err == nil {
		g.n.guards[g.name] = map[string]Link{}
		for name := range want {
			g.n.guards[g.name][name] = Link{}
		}
	}
	return err
}

// pod is an attachment that needs route_localnet of a link.
func pod(id, addr, link string, was bool) hostport.Attachment {
	return hostport.Attachment{Owner: hostport.Owner{Network: "net", ContainerID: id, IfName: "eth0"},
		Pods: []netip.Prefix{netip.MustParsePrefix(addr + "/16")}, Localhost: true, Link: link, LocalnetWas: was}
}

// apply changes the node as a verb would, and then the mappings.
func apply(b *Backend, change func(backend.State) backend.State) error {
	n := b.sys.(*node)
	mapped, err := n.backend("nft").Load()
	if err != nil {
		return err
	}
	have, err := b.Load()
	if err == nil {
		err = b.Apply(have, change(have))
	}
	if err == nil {
		n.users = change(mapped).(State).users
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
