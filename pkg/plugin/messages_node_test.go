// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/backend"
	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/nftconn"
	"github.com/portguard/portguard/pkg/place"
	"github.com/portguard/portguard/pkg/rules"
	"github.com/portguard/portguard/pkg/state"
	"github.com/portguard/portguard/pkg/walk"
)

func web() hostport.Attachment {
	return hostport.Attachment{Owner: hostport.Owner{Network: "net", ContainerID: "0123456789abcdef", IfName: "eth0", PodNamespace: "default", PodName: "web"},
		Pods:     []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")},
		Mappings: []hostport.Mapping{{Family: hostport.IPv4, Proto: hostport.TCP, HostPort: 80, ContainerPort: 8080}}}
}

func (s *script) directories() {
	s.Section("the directory of records and its lock")
	below := state.Open(s.write("file", "") + "/x")
	_, err := below.Lock(time.Second)
	s.err(err, CodeUnreadable)
	st := state.Open(filepath.Join(s.dir, "state"))
	unlock, err := st.Lock(time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = st.Lock(10 * time.Millisecond)
	s.err(err, CodeUnreadable)
	unlock()
	for _, err := range []error{below.MarkUsed(), below.Save(state.Record{}), below.Count(state.Counters{}), below.CouldWrite()} {
		s.err(err, types.ErrIOFailure)
	}
	for _, text := range []string{"{", `{"version":3}`, `{"version":2}`} {
		s.write("state/K.json", text)
		_, err = st.Load("K")
		s.warn(err.Error())
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "state/D.json/x"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	_, err = st.Load("D")
	s.warn(err.Error())
	golden.Starve(s.t, func() { err = st.Delete("D") })
	s.warn(told(err, CodeApply))
	s.warned()
}

func (s *script) backends() {
	s.Section("a backend that this node cannot serve")
	old := nftconn.ErrNoKernel
	for _, c := range []struct {
		backend, syntax string
		ipvs            bool
		kernel          error
	}{
		{place.NFTables, "", true, nil},
		{place.NFTables, "", false, old},
		{place.Auto, place.NFTables, true, nil},
		{place.Auto, place.NFTables, false, old},
		{place.Auto, place.NFTables, false, nil},
		{place.NFTables, "", false, fmt.Errorf("could not read the nftables tables: %w", unix.EBUSY)},
	} {
		_, err := place.Of(place.Wish{Backend: c.backend, Syntax: c.syntax}, place.Facts{IPVS: c.ipvs, NFTables: kernel(c.kernel), NFTProgram: func() bool { return false }})
		s.err(err, CodeUnreadable)
	}
	two := func() (place.Iptables, error) { return place.Iptables{KubeProxy: []string{"nft", "legacy"}}, nil }
	_, err := place.Of(place.Wish{Backend: place.IPTables}, place.Facts{Iptables: two})
	s.err(err, CodeUnreadable)
	one := func() (place.Iptables, error) {
		return place.Iptables{Native: true, Default: func() (string, error) { return "nft", nil }}, nil
	}
	choice, err := place.Of(place.Wish{Backend: place.IPTables}, place.Facts{Iptables: one})
	if err != nil {
		s.t.Fatal(err)
	}
	s.warn(choice.Warning)
	s.warn(insteadOf(fmt.Errorf("%w (is a module of nf_tables missing?): %w", nftconn.ErrNoKernel, unix.ENOENT), place.IPTables))
	s.node.facts.IPVS = true
	unlock, err := s.store.Lock(time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	defer unlock()
	for i, more := range []string{`,"backend":"nftables"`, ""} {
		p := s.pod(fmt.Sprint("pod", i))
		a := s.request(p, 90+i, more).Attachment
		s.in(place.NFTables).now.has[p.key()] = a
		if i == 0 {
			if err := s.store.Save(state.Record{Attachment: a, Backend: place.NFTables, Wanted: place.NFTables, Netns: p.netns, BootID: s.node.boot}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	x, err := s.Begin(s.store, time.Second, hostport.Attachment{})
	if err == nil {
		err = x.Load(BackendOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	x.warnOfStrays(place.IptablesNFT)
	s.node.facts.IPVS = false
	clear(s.in(place.NFTables).now.has)
	if err := s.store.Delete(s.pod("pod0").key()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Setenv("PORTGUARD_DEBUG", "1")
	s.debug("backend %s: %s", place.NFTables, "the configuration names it")
	s.warned()
	s.t.Setenv("PORTGUARD_DEBUG", "")
	s.err(rules.ErrChanging, CodeUnreadable)
	s.err(walk.ErrTooLong, CodeUnreadable)
}

// kernel lacks what ErrNoKernel says, or does not answer.
func kernel(err error) func() (lacks, err error) {
	return func() (error, error) {
		if errors.Is(err, nftconn.ErrNoKernel) {
			return err, nil
		}
		return nil, err
	}
}

func (s *script) localhosts() {
	s.Section("localhost without a link to the pod")
	s.node.link = ""
	for _, hostIP := range []string{"", "127.0.0.1"} {
		r, err := s.parsed(confHead + portOf(`,"hostIP":"`+hostIP+`"`) + confPrev + "}")
		if err != nil {
			s.t.Fatal(err)
		}
		x, err := s.Begin(s.store, time.Second, hostport.Attachment{})
		if err != nil {
			s.t.Fatal(err)
		}
		if err := x.settleLocalhost(r); err != nil {
			s.err(err, CodeUnreadable)
			continue
		}
		s.remarks(r.Config, r, nil)
	}
	s.node.link = "veth1"
}

func (s *script) changesFail() {
	s.Section("changes that fail: everything is as it was, or DEL removes the rest")
	failed := fmt.Errorf("could not change the iptables-legacy rules (IPv4): iptables-legacy-restore: exit status 2: line 7 failed")
	for _, c := range []struct {
		more string
		err  error
	}{{"", failed}, {`,"backend":"nftables"`, fmt.Errorf("%w (is a module of nf_tables missing?): %w", nftconn.ErrNoKernel, unix.ENOENT)}, {`,"conditionsV4":["-m","frob","--level","3"]`, failed}, {"", fmt.Errorf("%w: %w", backend.ErrNotUndone, failed)}} {
		p := s.pod("fails")
		for _, b := range s.node.backends {
			if b.now.keeps {
				b.fail = c.err
			}
		}
		s.err(s.add(p, 85, c.more), CodeApply)
		for _, b := range s.node.backends {
			b.fail = nil
		}
	}
	s.Stdout = broken{unix.EPIPE}
	s.err(s.add(s.pod("undelivered"), 89, ""), CodeApply)
	s.in("localnet").fail = failed
	s.in(place.IptablesNFT).fail = nil
	x, err := s.Begin(s.store, time.Second, hostport.Attachment{})
	if err == nil {
		err = x.Load(BackendOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	x.Put(web(), place.NFTables)
	s.in("localnet").fail = nil
	s.in(place.NFTables).fail = failed
	first := true
	s.in("localnet").undone = func() error {
		if first {
			first = false
			return nil
		}
		return failed
	}
	s.err(x.Apply(nil), CodeApply)
	s.in("localnet").undone = nil
	s.stderr.Reset()
}

func (s *script) checks() {
	s.Section("CHECK; what else it can find lost is in the files of the backends")
	a := web()
	for _, f := range []fault{{"the configuration asks for other ports than ADD installed", renewable},
		{fmt.Sprintf("the pod has the addresses %v, and ADD mapped to %v", a.Pods, []netip.Prefix{netip.MustParsePrefix("192.0.2.8/24")}), renewable},
		{what: "hostPort 80/tcp would not work: a rule ends the walk before it: ...; remove that rule or restrict it"}} {
		s.err(notAsInstalled(a.Owner, []fault{f}), CodeNotAsInstalled)
	}
	err := notAsInstalled(a.Owner, []fault{{"one", restorable}, {"another", restorable}, {"a third", renewable}})
	s.Add("110", err.Error())
}
