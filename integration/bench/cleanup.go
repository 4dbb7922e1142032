// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A janitor is the lab.T of this program: what fails ends it, what was made is
// removed.
type janitor struct {
	mu       sync.Mutex
	cleanups []func()
	ended    bool
}

// Helper does nothing.
func (j *janitor) Helper() {}

// Fatalf stops the benchmark.
func (j *janitor) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Logf writes to stderr.
func (j *janitor) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Cleanup remembers what to do at the end; behind it, that is now.
func (j *janitor) Cleanup(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		f()
		return
	}
	j.cleanups = append(j.cleanups, f)
}

// TempDir makes a directory that is removed at the end.
func (j *janitor) TempDir() string { return j.tempDir("") }

func (j *janitor) tempDir(in string) string {
	dir, err := os.MkdirTemp(in, "portguard-bench-")
	if err != nil {
		j.Fatalf("%v", err)
	}
	j.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// clean does all that was remembered, once.
func (j *janitor) clean() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range slices.Backward(j.cleanups) {
		f()
	}
	j.cleanups, j.ended = nil, true
}

// onSignal cleans up when somebody ends the benchmark.
func (j *janitor) onSignal() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-c
		j.clean()
		time.Sleep(time.Second) // what was being made when the signal came goes too
		os.Exit(130)
	}()
}

// parallel calls all of them, on all cores, and panics if one did.
func parallel(all []func()) {
	room := make(chan struct{}, runtime.NumCPU())
	failed := make(chan any, len(all))
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(func() {
			room <- struct{}{}
			defer func() {
				if r := recover(); r != nil {
					failed <- r
				}
				<-room
			}()
			f()
		})
	}
	wg.Wait()
	select {
	case r := <-failed:
		panic(r)
	default:
	}
}
