// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// Offsets of struct bpf_sk_lookup.
const (
	skLookupRemote4 = 16
	skLookupPort    = 60
)

// Steer attaches a BPF program (sk_lookup) to the namespace that gives TCP connections to a
// port to a listener of the program's name on 127.0.0.1. From, if set, is the only client
// that it does so for, as the number that the kernel compares with.
func (n *Netns) Steer(name string, port uint16, from uint32) io.Closer {
	n.T.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // no sockmap takes such sockets
	var l net.Listener
	var err error
	n.Do(func() { l, err = lc.Listen(context.Background(), "tcp4", "127.0.0.1:0") })
	if err != nil {
		n.T.Fatalf("listen: %v", err)
	}
	n.T.Cleanup(func() { l.Close() })
	go answer(l, name)
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		n.T.Fatalf("sockmap: %v", err)
	}
	defer sockets.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = sockets.Put(uint32(0), uint64(fd)) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		n.T.Fatalf("sockmap: %v", err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "GPL", Instructions: steering(port, from, sockets.FD())})
	if err != nil {
		n.T.Fatalf("sk_lookup: %v", err)
	}
	defer prog.Close()
	ns, err := os.Open(n.Path)
	if err != nil {
		n.T.Fatalf("%v", err)
	}
	defer ns.Close()
	at, err := link.AttachNetNs(int(ns.Fd()), prog)
	if err != nil {
		n.T.Fatalf("attach: %v", err)
	}
	n.T.Cleanup(func() { at.Close() })
	return at
}

func steering(port uint16, from uint32, sockets int) asm.Instructions {
	out := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, skLookupPort, asm.Word),
		asm.JNE.Imm(asm.R2, int32(port), "pass"),
	}
	if from != 0 {
		out = append(out, asm.LoadMem(asm.R2, asm.R6, skLookupRemote4, asm.Word), asm.LoadImm(asm.R3, int64(from), asm.DWord), asm.JNE.Reg(asm.R2, asm.R3, "pass"))
	}
	return append(out,
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, sockets),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkAssign.Call(),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnSkRelease.Call(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("pass"),
		asm.Return(),
	)
}
