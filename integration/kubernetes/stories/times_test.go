// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// A watch is stopped when a part of the run is over. What else a machine does makes parts
// longer, and hardly changes for how long they had processors.
type watch struct {
	start time.Time
	cpu   time.Duration
}

func startWatch() watch { return watch{time.Now(), cpu()} }

// stop is the line of a part in the table at the end.
func (w watch) stop(part string) string {
	return fmt.Sprintf("%7.1f s %7.1f s of CPU  %s", time.Since(w.start).Seconds(), (cpu() - w.cpu).Seconds(), part)
}

// cpu is what all processes of the world have used, 0 where there are no cgroups of
// version 2 that would know.
func cpu() (used time.Duration) {
	stat, _ := os.ReadFile(os.Getenv("WORLD_CPU"))
	for line := range strings.Lines(string(stat)) {
		if n, of := strings.CutPrefix(line, "usage_usec "); of {
			used, _ = time.ParseDuration(strings.TrimSpace(n) + "us")
		}
	}
	return used
}
