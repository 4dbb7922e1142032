// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portguard/portguard/pkg/internal/need"
	"github.com/portguard/portguard/pkg/iptables"
)

// One ADD and DEL beside 1,000 hostPorts of both families, with the real tools.
func BenchmarkRealAdd(b *testing.B) {
	need.Netns(b)
	be := New(iptables.NFT, kernel(&iptables.Tools{Wait: 5 * time.Second}))
	have, err := be.Load()
	if err != nil {
		b.Fatal(err)
	}
	all := have
	for i := range 1000 {
		a := web(1)
		a.Mappings[0].HostPort, a.Mappings[1].HostPort = uint16(20000+i), uint16(20000+i)
		a.Owner.ContainerID = fmt.Sprintf("%064d", i)
		a.Pods = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(2 + i%250)}), 16), netip.MustParsePrefix(fmt.Sprintf("fd00::1:%x/64", i))}
		all = all.With(a)
	}
	if err := be.Apply(have, all); err != nil {
		b.Fatal(err)
	}
	step := func(change func()) time.Duration {
		start := time.Now()
		change()
		return time.Since(start)
	}
	var load, add, del time.Duration
	for b.Loop() {
		load += step(func() { have, err = be.Load() })
		add += step(func() { err = be.Apply(have, have.With(web(0))) })
		if err != nil {
			b.Fatal(err)
		}
		del += step(func() {
			if have, err = be.Load(); err == nil {
				err = be.Apply(have, have.Without(web(0).Owner.Key()))
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(load.Milliseconds())/float64(b.N), "load-ms")
	b.ReportMetric(float64(add.Milliseconds())/float64(b.N), "apply-ms")
	b.ReportMetric(float64(del.Milliseconds())/float64(b.N), "del-ms")
}
