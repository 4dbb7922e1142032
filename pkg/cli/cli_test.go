// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Run(nil, "v1", args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"help", OK, "portguard explain PORT[/PROTOCOL]", ""},
		{"--help", OK, "portguard list", ""},
		{"-h", OK, "portguard list", ""},
		{"version", OK, "portguard v1", ""},
		{"--version", OK, "portguard v1", ""},
		{"help list", OK, "Examples:", ""},
		{"gc --help", OK, "--dry-run", ""},
		{"lst", Usage, "", `no command "lst"`},
		{"list x", Usage, "", "got 1 arguments"},
		{"list -o yaml", Usage, "", `"yaml" is not an output`},
		{"list --wrong", Usage, "", "unknown flag: --wrong"},
		{"list --conf-dir net.d", Usage, "", `--conf-dir: "net.d" is not an absolute path`},
		{"list --conf-dir=", Usage, "", `--conf-dir: "" is not an absolute path`},
		{"list --conf-dir /nonexistent", Usage, "", "--conf-dir: stat /nonexistent: no such file"},
		{"doctor --conf-dir /dev/null", Usage, "", "--conf-dir: /dev/null is not a directory"},
		{"gc --data-dir run", Usage, "", `--data-dir: "run" is not an absolute path`},
		{"gc --data-dir=", Usage, "", `--data-dir: "" is not an absolute path`},
		{"restore --data-dir /", Usage, "", `--data-dir: "/" is not an absolute path of a directory other than /`},
		{"metrics --cache-dir cache", Usage, "", `--cache-dir: "cache" is not an absolute path`},
		{"metrics --cache-dir /dev/null", Usage, "", "--cache-dir: /dev/null is not a directory"},
		{"explain http --data-dir /nonexistent", Usage, "", "warning: --data-dir: stat /nonexistent: no such file"},
		{"explain", Usage, "", "got 0 arguments"},
		{"explain 80 81", Usage, "", "got 2 arguments"},
		{"explain http", Usage, "", `"http" is not a port`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			code, stdout, stderr := run(strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) || (stderr == "") != (code == OK) {
				t.Errorf("exit %d\nstdout %q\nstderr %q", code, stdout, stderr)
			}
		})
	}
}

// What is printed of an error has names of others in it.
func TestErrorsArePlain(t *testing.T) {
	var b bytes.Buffer
	(&session{err: &b}).fail(errors.Join(errors.New("link a\x1b[2J"), errors.New("b\u202e\xff")))
	if got, want := b.String(), "portguard: link a\ufffd[2J; b\ufffd\ufffd\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Every command has an example and says its exit codes.
func TestHelp(t *testing.T) {
	for _, c := range commands() {
		_, out, _ := run(c.name, "--help")
		if len(c.examples) == 0 || !strings.Contains(out, "Exit code") || !strings.Contains(out, "--output") {
			t.Errorf("%s: %s", c.name, out)
		}
		for _, line := range strings.Split(c.long, "\n") {
			if len(line) > 86 {
				t.Errorf("%s: a line is too long for a terminal: %q", c.name, line)
			}
		}
	}
}

func TestParsePort(t *testing.T) {
	for arg, want := range map[string]string{
		"80/tcp":                    "80/tcp",
		"80/UDP":                    "80/udp",
		"80":                        "80/tcp 80/udp 80/sctp",
		"192.0.2.1:80/tcp":          "192.0.2.1:80/tcp",
		"[2001:db8::1]:80/sctp":     "[2001:db8::1]:80/sctp",
		"2001:db8::1:80/tcp":        "",
		"[192.0.2.1]:80/tcp":        "",
		"[::]:80/tcp":               "[::]:80/tcp",
		"0.0.0.0:80/tcp":            "0.0.0.0:80/tcp",
		"[::ffff:192.0.2.1]:80/tcp": "192.0.2.1:80/tcp",
		"0/tcp":                     "",
		"65536/tcp":                 "",
		"/tcp":                      "",
		"80/":                       "",
		"80/icmp":                   "",
		"x:80/tcp":                  "",
		"[fe80::1%eth0]:80/tcp":     "",
		"-1/tcp":                    "",
		"":                          "",
	} {
		qs, err := parse(arg)
		var got []string
		for _, q := range qs {
			got = append(got, q.String())
		}
		if s := strings.Join(got, " "); s != want || (err != nil) != (want == "") {
			t.Errorf("%q: got %q, %v; want %q", arg, s, err, want)
		}
	}
}

func TestAge(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{0: "0s", -time.Hour: "0s", 90 * time.Second: "90s", 5 * time.Minute: "5m", 3 * time.Hour: "3h", 50 * time.Hour: "2d"} {
		if got := age(now.Add(-d), now); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
	if got := age(time.Time{}, now); got != "-" {
		t.Errorf("unknown: got %q", got)
	}
}

// What somebody else chose as a name cannot steer the terminal, nor break a table.
func TestPlain(t *testing.T) {
	var b bytes.Buffer
	table(&b, [][]string{{"a\x1b[31m\n\tb", "c"}})
	if got := b.String(); strings.ContainsAny(strings.TrimSuffix(got, "\n"), "\x1b\n\t") {
		t.Errorf("got %q", got)
	}
}
