// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/portguard/portguard/pkg/file"
	"github.com/portguard/portguard/pkg/metrics"
)

func metricsCommand() command {
	return command{
		name: "metrics", short: "writes what Prometheus should know of this node",
		long: `Writes Prometheus' text format: mappings by state, what ADDs met and refused since
boot, dead owners, shadowed mappings and the findings of doctor. With --textfile it
replaces a file in one step, as node-exporter's textfile collector needs; run it
from a timer. Exit code: 0, or 2 if the node could not be read.`,
		examples: []string{"portguard metrics", "portguard metrics --textfile /var/lib/node_exporter/textfile_collector/portguard.prom"},
		flags: func(fs *pflag.FlagSet, s *session) {
			fs.StringVar(&s.textfile, "textfile", "", "replace this file instead of writing to stdout")
		},
		run: exposition,
	}
}

func exposition(s *session) int {
	if s.output == "json" && s.textfile != "" {
		return s.fail(errors.New("--textfile is for Prometheus' text format; leave out -o json"))
	}
	found, facts, err := s.diagnosis()
	if err != nil {
		return s.fail(err)
	}
	counters := s.inspect.Counters(s.conf.DataDir)
	text := metrics.Text(s.version, facts.List, found, counters)
	switch {
	case s.output == "json":
		return s.json(metrics.JSON(schema, s.version, facts.List, found, counters))
	case s.textfile == "":
		_, err = io.WriteString(s.out, text)
	default:
		err = replace(s.textfile, text)
	}
	if err != nil {
		return s.fail(err)
	}
	return OK
}

// replace writes a file that nobody sees half written. The name of the temporary
// one does not end in .prom, so the collector does not read it.
func replace(path, text string) error {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("--textfile: %s is no regular file; name one, or none to have the metrics on standard output", path)
	}
	fresh := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	if err := file.Replace(path, fresh, []byte(text), 0o644); err != nil {
		return fmt.Errorf("--textfile: %w", err)
	}
	return nil
}
