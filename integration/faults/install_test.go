// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
)

// Wherever the ADD is killed that attaches the programs, alone or beside another one, and
// whatever somebody removes of them: the next ADD holds its port.
func TestKillWhileInstalling(t *testing.T) {
	n, other := lab.NewNode(t, bin, "nft"), lab.NewNode(t, bin, "nft")
	nodes := []*lab.Node{n, other}
	var pods []*lab.Pod
	for _, n := range nodes {
		n.Backend = "nftables"
		pod := n.NewPod("pod")
		n.Run("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", pod.Name)
		n.Run("ip", "link", "set", "pod0", "up")
		n.Run("ip", "route", "add", "10.88.0.77/32", "dev", "pod0")
		pods = append(pods, pod)
	}
	before, killed, within := n.Rules(), 0, 60*time.Millisecond
	bind := func() error { return n.Bind(lab.Socket{Network: "tcp4"}, 8080) }
	for i := range tries(t) {
		for _, dir := range lab.Pins() {
			gone := []string{dir, dir + "/bind4", dir + "/bind6", dir + "/ports"}[i%4]
			if err := os.RemoveAll(gone); err != nil {
				t.Fatal(err)
			}
		}
		beside := make(chan error)
		go func() {
			_, err := start(other, "ADD", pods[1], conf(other, pods[1], 8080), time.Minute)
			beside <- err
		}()
		was, err := start(n, "ADD", pods[0], conf(n, pods[0], 8080), rand.N(within))
		if err = errors.Join(err, <-beside); err != nil {
			t.Fatal(err)
		}
		if within = within * 2 / 3; was { // it follows how long an ADD takes here
			within = within * 9 / 4
			killed++
		}
		for j, n := range nodes {
			if _, err := start(n, "ADD", pods[j], conf(n, pods[j], 8080), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if err := bind(); !errors.Is(err, unix.EADDRINUSE) {
			t.Fatalf("try %d: bind: %v\n%s", i, err, n.Held())
		}
		for j, n := range nodes {
			if _, err := start(n, "DEL", pods[j], conf(n, pods[j], 8080), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if err := bind(); err != nil {
			t.Fatalf("try %d: bind after DEL: %v\n%s", i, err, n.Held())
		}
		if rules := n.Rules(); rules != before {
			t.Fatalf("try %d: rules differ after DEL:\n%s", i, rules)
		}
	}
	if t.Logf("killed %d times of %d", killed, tries(t)); killed == 0 || killed == tries(t) {
		t.Error("the ADD was always killed, or never: the test shows little")
	}
}
