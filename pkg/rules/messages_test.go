// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/internal/golden"
	"github.com/portguard/portguard/pkg/nft"
)

func TestMessages(t *testing.T) {
	m := golden.New(t)
	nat := nft.Table{Family: nft.IPv4, Name: "nat"}
	m.Section("iptables-legacy: what is not there, and what the kernel does not tell")
	r := &Reader{o: Options{Proc: t.TempDir()}}
	_, err := r.Rules(Legacy, nat, "PREROUTING")
	m.AddError("109", err)
	_, err = legacySource{r: r}.Set(nat, "ports4")
	m.AddError("109", err)
	golden.Starve(t, func() { _, err = readLegacy(nat) })
	m.AddError("109", err)
	m.AddError("109", answerOfAnotherSize(t))
	m.Section("rules that change whenever they are read; the plugin adds what to do")
	netns(t).Do(func() {
		err = Steady(time.Millisecond, New(Options{Proc: "/proc"}), func(*Reader) error { return unix.EINTR })
	})
	m.AddError("11", err)
	m.Check(*update)
}

// answerOfAnotherSize asks for a number and has room for two.
func answerOfAnotherSize(t *testing.T) error {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return getsockopt(fd, unix.SOL_SOCKET, unix.SO_TYPE, make([]byte, 8))
}
