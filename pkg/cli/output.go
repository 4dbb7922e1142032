// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/portguard/portguard/pkg/hostport"
)

// schema is the version of the JSON outputs. Fields may be added to one; what is
// there keeps its name and meaning.
const schema = 1

// json writes one document.
func (s *session) json(v any) int {
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return s.fail(err)
	}
	return OK
}

// table writes rows in columns. What processes, pods and rules are called is
// somebody else's choice, so it is printed without control characters.
func table(w io.Writer, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		for i := range r {
			r[i] = plain(r[i])
		}
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	_ = tw.Flush()
}

func plain(s string) string { return hostport.Plain(s) }

// patience is how long a command may be silent.
const patience = time.Second

// watch says on stderr what is being done, once it has taken a while.
func (s *session) watch() (stop func()) {
	var doing atomic.Value
	doing.Store("looking at the node")
	s.inspect.Progress = func(what string) { doing.Store(what) }
	begun, tick, done := time.Now(), time.NewTicker(patience), make(chan struct{})
	var over sync.WaitGroup
	over.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				fmt.Fprintf(s.err, "portguard: %s (%d s)\n", plain(doing.Load().(string)), int(time.Since(begun).Seconds()))
			}
		}
	})
	return func() {
		tick.Stop()
		close(done)
		over.Wait()
	}
}

// age says how long ago something was, as kubectl does.
func age(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "-"
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
