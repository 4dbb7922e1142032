// SPDX-License-Identifier: Apache-2.0

// Package program holds the BPF programs that refuse binds, as instructions for the machine's
// byte order. It is pure.
package program

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

//go:generate go run ./generate bind.c .

// License is what the kernel is told: bind.c may be used under the GPL too. The verifier lets no
// other program read a struct of the kernel, which IPV6_V6ONLY is in.
const License = "GPL"

// insnLen is the length of an instruction; one that loads 64 bits has two.
const insnLen = 8

// loadMap is the opcode of an instruction that loads a map: BPF_LD | BPF_IMM | BPF_DW.
const loadMap = 0x18

// Programs are those for both families, by the file that they are pinned at.
type Programs struct{ Bind4, Bind6 string }

// New returns the programs, which ask for the PID of the caller where the kernel has a helper
// for that (bpf_get_current_pid_tgid, in cgroup programs since Linux 6.10).
func New(pid bool) Programs {
	if pid {
		return Programs{bind4, bind6}
	}
	return Programs{bind4NoPID, bind6NoPID}
}

// Version names instructions in what the kernel keeps as the name of a program: 15 characters.
func Version(code string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(code)) // never fails
	return fmt.Sprintf("portguard%06x", h.Sum32()&0xffffff)
}

// Link puts the file descriptors of the maps ports, spare and refused into the code.
func Link(code string, maps [3]int) []byte {
	out := []byte(code)
	for i := 0; i+insnLen <= len(out); i += insnLen {
		if insn := out[i : i+insnLen]; insn[0] == loadMap && source(insn[1]) == pseudoMap {
			binary.NativeEndian.PutUint32(insn[4:], uint32(maps[binary.NativeEndian.Uint32(insn[4:])]))
		}
	}
	return out
}

// pseudoMap is the source register of an instruction that needs a map: BPF_PSEUDO_MAP_FD.
const pseudoMap = 1

// source is the source register in the byte of both, which is a bit field.
func source(registers byte) byte {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return registers >> 4
	}
	return registers & 0xf
}
