// SPDX-License-Identifier: Apache-2.0

// Package stories tells what happens to pods: on a node of real programs, asserted on
// traffic, events and what portguard's commands say. e2e.sh runs it, in a world of its
// own for each way in which a node can be made.
package stories

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

// the is the node that all stories share, one after another.
var the *node.Node

// score counts stories, and says what each of them took.
var score struct {
	sync.Mutex
	passed, failed int
	took           []string
	// together runs since the last story that had the node to itself.
	together watch
}

func TestMain(m *testing.M) {
	cache := os.Getenv("CACHE")
	c := node.Modes[os.Getenv("MODE")]
	c.Bin, c.Logs = filepath.Join(cache, "bin"), os.Getenv("LOGS")
	c.Containerd, c.Plugin, c.Options = os.Getenv("CONTAINERD"), "portguard", os.Getenv("OPTIONS")
	w := startWatch()
	var err error
	if the, err = node.Up(context.Background(), c); err != nil {
		fmt.Println(err)
		fmt.Println("0 passed, 1 failed")
		os.Exit(1)
	}
	score.took = []string{w.stop("the node starts")}
	score.together = startWatch()
	code := m.Run()
	score.took = append(score.took, score.together.stop("those that are told beside each other"), w.stop("all"))
	if left := leftAtTheEnd(); left != "" {
		fmt.Println(left)
		code, score.failed = 1, score.failed+1
	}
	if score.passed+score.failed == 0 {
		code, score.failed = 1, 1 // nothing ran
	}
	fmt.Println(strings.Join(score.took, "\n"))
	fmt.Printf("%d passed, %d failed\n", score.passed, score.failed)
	os.Exit(code)
}

// leftAtTheEnd is what is left when all stories are over.
func leftAtTheEnd() string {
	list, err := listed()
	if err != nil {
		return err.Error()
	}
	return anyLeft(list)
}
