// SPDX-License-Identifier: Apache-2.0

// Package load makes connections between network namespaces, in a process of its
// own: the benchmark starts itself with Word as its first argument.
//
// One thread has both ends of every connection. A packet crosses the pairs of
// veths within the system call that sends it, so what is measured is the path and
// not the scheduler.
package load

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
)

// Word is the argument that makes the benchmark this process.
const Word = "load"

// A Job is what the process is asked for, as JSON on its standard input. It has
// one of the three.
type Job struct {
	Flows *Flows
	Bulk  *Bulk
	Hold  *Hold
}

// A Cell is one way from a client to a server.
type Cell struct {
	// Client and Server are paths of namespaces.
	Client, Server string
	// UDP chooses the protocol.
	UDP bool
	// To is where the client sends, Port where the server listens.
	To   string
	Port uint16
}

// Flows asks for new flows: Rounds times each cell in turn, Count flows each.
type Flows struct {
	Cells         []Cell
	Rounds, Count int
}

// Bulk asks for data over one connection a cell: Rounds times each cell in turn,
// MiB each.
type Bulk struct {
	Cells       []Cell
	Rounds, MiB int
}

// Hold asks for connections over loopback to a port, with both ends in the
// namespace, and for sockets that listen on 0.0.0.0 at the port and those behind it,
// until the standard input ends.
type Hold struct {
	Namespace   string
	Port        uint16
	Connections int
	Listeners   int
}

// A Figures has the figures of each round for each cell: the median duration of
// a flow in microseconds, or MiB/s.
type Figures [][]float64

// Main does the job.
func Main(in io.Reader, out io.Writer) error {
	runtime.LockOSThread() // never unlocked: the thread moves between namespaces
	var job Job
	d := json.NewDecoder(in)
	if err := d.Decode(&job); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	if job.Hold != nil {
		return job.Hold.run(io.MultiReader(d.Buffered(), in), out)
	}
	var figures Figures
	var err error
	switch {
	case job.Flows != nil:
		figures, err = job.Flows.run()
	case job.Bulk != nil:
		figures, err = job.Bulk.run()
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(figures)
}
