// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/host"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
)

// A teller is a backend that says what it is told, and notes when it is loaded.
type teller struct {
	name string
	log  *[]string
	backend.Nothing
	part hostport.Attachment
}

func (b teller) Name() string                 { return b.name }
func (teller) Apply(_, _ backend.State) error { return nil }
func (teller) Try(_, _ backend.State) error   { return nil }
func (teller) Owns(nft.Table, string) bool    { return false }

func (b teller) Load() (backend.State, error) {
	*b.log = append(*b.log, b.name)
	return b, nil
}

func (b teller) Recover(hostport.Key) (hostport.Attachment, bool) { return b.part, true }

// The mappings are loaded before the backend that is applied first. Of an attachment the
// one knows the owner, the other what its link was.
func TestLoadAndRecover(t *testing.T) {
	var log []string
	owner := hostport.Owner{ContainerID: "c", IfName: "eth0"}
	guard := teller{name: "localnet", log: &log, part: hostport.Attachment{Link: "veth1", Localhost: true, LocalnetWas: true}}
	mapper := teller{name: "nftables", log: &log, part: hostport.Attachment{Owner: owner, Link: "veth1", Localhost: true}}
	s := &Session{On: &host.Addressing{}, Plugin: &Plugin{Node: places{all: []backend.Backend{guard, mapper}}}}
	if err := s.Load(BackendOptions{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"nftables", "localnet"}, log); d != "" {
		t.Errorf("loaded (-want +got)\n%s", d)
	}
	if a, _ := s.Recover(owner.Key()); a.Owner != owner || a.Link != "veth1" || !a.Localhost || !a.LocalnetWas {
		t.Errorf("recovered %+v", a)
	}
}

// Places is a node of which only the backends matter.
type places struct {
	*fakeNode
	all []backend.Backend
}

func (p places) Backends(BackendOptions) []backend.Backend { return p.all }
