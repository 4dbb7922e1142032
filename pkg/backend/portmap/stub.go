package portmap

import (
	"time"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/nft"
	"github.com/portguard/portguard/pkg/rules"
)

type Options struct {
	CacheDir string
	Rules    *rules.Reader
	Wait     time.Duration
}
type B struct{}

func New(Options) *B                                  { return &B{} }
func (*B) Name() string                               { return "portmap" }
func (*B) Load() (backend.State, error)               { return backend.Nothing{}, nil }
func (*B) Apply(_, _ backend.State) error             { return nil }
func (*B) Owns(nft.Table, string) bool                { return false }
func IsOurs(string) bool                              { return false }
func Key(o hostport.Owner) hostport.Key               { return o.ContainerID }
