// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/portguard/portguard/integration/lab"
)

// do runs a job on a thread of its own, which ends with it.
func do(t *testing.T, job Job, in io.Reader, out io.Writer) <-chan error {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root")
	}
	b, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Main(io.MultiReader(bytes.NewReader(b), in), out) }()
	return done
}

// Every round of every cell has a figure, for both protocols and families.
func TestFlowsAndBulk(t *testing.T) {
	n := lab.NewNode(t, "", "nft")
	var cells []Cell
	for _, to := range []string{lab.NodeV4 + ":8080", "[" + lab.NodeV6 + "]:8080"} {
		for _, udp := range []bool{false, true} {
			cells = append(cells, Cell{Client: n.Client.Path, Server: n.Path, UDP: udp, To: to, Port: 8080})
		}
	}
	for _, job := range []Job{{Flows: &Flows{Cells: cells, Rounds: 2, Count: 10}}, {Bulk: &Bulk{Cells: cells[:1], Rounds: 2, MiB: 4}}} {
		var out bytes.Buffer
		if err := <-do(t, job, strings.NewReader(""), &out); err != nil {
			t.Fatal(err)
		}
		var got Figures
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for i, rounds := range got {
			if len(rounds) != 2 || rounds[0] <= 0 || rounds[1] <= 0 {
				t.Errorf("cell %d: %v", i, rounds)
			}
		}
		if job.Flows != nil && len(got) != len(cells) {
			t.Errorf("%d cells, want %d", len(got), len(cells))
		}
	}
}

// A server that cannot be reached is an error.
func TestNobody(t *testing.T) {
	n := lab.NewNode(t, "", "nft")
	c := Cell{Client: n.Client.Path, Server: n.Path, To: lab.NodeV4 + ":8080", Port: 9090}
	if err := <-do(t, Job{Flows: &Flows{Cells: []Cell{c}, Rounds: 1, Count: 1}}, strings.NewReader(""), io.Discard); err == nil {
		t.Error("nobody listens there, and it was measured")
	}
}

// The connections are there until the input ends.
func TestHold(t *testing.T) {
	n := lab.NewNode(t, "", "nft")
	in, end := io.Pipe()
	answer, out := io.Pipe()
	done := do(t, Job{Hold: &Hold{Namespace: n.Path, Port: 7000, Connections: 20}}, in, out)
	go func() { out.CloseWithError(errors.Join(io.EOF, <-done)) }()
	r := bufio.NewReader(answer)
	if line, err := r.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	if got := strings.Count(n.Run("ss", "-Htn", "state", "established"), "\n"); got != 40 {
		t.Errorf("%d sockets, want 40", got)
	}
	end.Close()
	if _, err := r.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
