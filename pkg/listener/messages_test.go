// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"flag"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/hostport"
	"github.com/portguard/portguard/pkg/internal/golden"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

func TestMessages(t *testing.T) {
	const rest = " 00000000:0000 0A 00000000:00000000 00:00000000 00000000 "
	m := golden.New(t)
	m.Section("what sock_diag answers; the plugin adds what to do")
	for _, in := range [][]byte{diagMsg(unix.AF_INET, "0.0.0.0", 80)[:71], diagMsg(unix.AF_INET6, "::", 80, attr(attrV6Only, 9, 1)...)} {
		r := &Reader{Proc: proc(t, nil), dump: func(_ uint8, p hostport.Proto, _ uint16) ([]hostport.Listener, error) {
			_, err := decodeDiag(p, in)
			return nil, err
		}}
		_, err := r.Read(wanted(hostport.TCP, 80))
		m.Add("109", err.Error())
	}
	m.Section("what /proc says, where the kernel has no sock_diag")
	for _, f := range []struct {
		proto      hostport.Proto
		name, text string
	}{
		{hostport.TCP, "tcp", inetHeading + "   0: 00000000:0016 00000000:0000 0A\n"},
		{hostport.TCP, "tcp", inetHeading + "   0: zz000000:0016" + rest + "0 0 1\n"},
		{hostport.TCP, "tcp", inetHeading + "   0: 00000000:10000" + rest + "0 0 1\n"},
		{hostport.UDP, "udp", inetHeading + "   0: 00000000:0016" + strings.Replace(rest, "0A", "07", 1) + "root 0 1\n"},
		{hostport.UDP, "udp", inetHeading + "   0: 00000000:0016" + strings.Replace(rest, "0A", "07", 1) + "0 0 x\n"},
		{hostport.SCTP, "sctp/eps", sctpHeading + " 0 0 2 10 29\n"},
		{hostport.SCTP, "sctp/eps", sctpHeading + " 0 0 2 10 29 99999 0 1 0.0.0.0\n"},
		{hostport.SCTP, "sctp/eps", sctpHeading + " 0 0 2 10 29 99 0 1 host\n"},
	} {
		dir := proc(t, map[string]string{f.name: f.text})
		r := &Reader{Proc: dir, dump: func(uint8, hostport.Proto, uint16) ([]hostport.Listener, error) { return nil, unix.ENOENT }}
		_, err := r.Read(wanted(f.proto, 80))
		m.Add("109", strings.ReplaceAll(err.Error(), dir, "/proc"))
	}
	m.Check(*update)
}

// A process may call itself whatever it likes.
func TestNameOfAProcessIsPlain(t *testing.T) {
	const evil = "\x1b]0;x\a\x1b[2Ja\nb"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	// The thread that gives the process its name is the first one; any other is a
	// task of its own.
	comm := "/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/comm"
	old, err := os.ReadFile(comm)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(comm, []byte(evil), 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile(comm, []byte(strings.TrimSpace(string(old))), 0) }()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	ls, err := New("/var/log/pods").Read(wanted(hostport.TCP, port))
	if err != nil || len(ls) != 1 {
		t.Fatal(err, ls)
	}
	if ls[0].Holder.Comm != evil {
		t.Errorf("the name is %q, so this test shows nothing", ls[0].Holder.Comm)
	}
	if got, want := hostport.Line(ls[0].Who()), "\uFFFD]0;x\uFFFD\uFFFD[2Ja; b (pid "; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
