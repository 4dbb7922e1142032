// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/lab"
)

// Of a process that binds and an ADD that start together exactly one has the port, and the
// other one is told.
func TestRace(t *testing.T) {
	n := lab.NewNode(t, bin, "nft")
	n.Backend = "nftables"
	pod := n.NewPod("pod")
	n.Run("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", pod.Name)
	n.Run("ip", "link", "set", "pod0", "up")
	n.Run("ip", "route", "add", "10.88.0.77/32", "dev", "pod0")
	before := n.Rules()
	won, after := map[string]int{}, 10*time.Millisecond
	for i := range 2 * tries(t) {
		proto := [...]string{"tcp", "udp"}[i%2]
		s := lab.Socket{Network: proto + [...]string{"4", "6"}[i/2%2], Reuse: i%3 == 0}
		bound := make(chan error)
		var fd int
		go func() {
			var err error
			fd, err = serve(n, s, rand.N(2*after), rand.N(time.Millisecond))
			bound <- err
		}()
		out, failed := try(n, "ADD", pod, proto)
		err := <-bound
		unix.Close(fd)
		// The next bind comes nearer to the moment at which the ADD holds the port, which is
		// another one on another machine, and on one that is busy.
		switch {
		case failed == nil && errors.Is(err, unix.EADDRINUSE):
			won["ADD"]++
			after = after * 2 / 3
			call(t, n, "DEL", pod, proto)
		case err == nil && failed != nil && strings.Contains(out, "hostPort 8080/"+proto+" is taken: "):
			won["bind"]++
			after = after * 3 / 2
		default:
			t.Fatalf("try %d, %+v: bind: %v; ADD: %v\n%s", i, s, err, failed, out)
		}
		if rules := n.Rules(); rules != before {
			t.Fatalf("try %d: rules differ:\n%s", i, rules)
		}
	}
	fmt.Printf("race: %d tries, won by %v\n", 2*tries(t), won)
	if won["ADD"] == 0 || won["bind"] == 0 {
		t.Error("one side always wins: the test shows nothing")
	}
}

// serve binds a socket after a while, and waits before it listens.
func serve(n *lab.Node, s lab.Socket, after, pause time.Duration) (fd int, err error) {
	n.Do(func() {
		time.Sleep(after)
		if fd, err = s.Open(); err != nil {
			return
		}
		if err = s.Bind(fd, 8080); err == nil && s.Network[:3] == "tcp" {
			time.Sleep(pause)
			err = unix.Listen(fd, 8)
		}
	})
	return fd, err
}

func try(n *lab.Node, verb string, p *lab.Pod, proto string) (string, error) {
	conf := strings.ReplaceAll(conf(n, p, 8080), `{"hostPort":8080,"containerPort":80,"protocol":"`+map[string]string{"tcp": "udp", "udp": "tcp"}[proto]+`"}`, "")
	conf = strings.ReplaceAll(strings.ReplaceAll(conf, "},]", "}]"), "[,{", "[{")
	out, _, err := n.Call(verb, p, conf)
	return out, err
}

func call(t *testing.T, n *lab.Node, verb string, p *lab.Pod, proto string) {
	t.Helper()
	if out, err := try(n, verb, p, proto); err != nil {
		t.Fatalf("%s: %v: %s", verb, err, out)
	}
}
