// SPDX-License-Identifier: Apache-2.0

// Command generate compiles bind.c for both byte orders and writes the instructions as Go,
// into the directory that it is given. CC is the compiler; others than the pinned one make
// other instructionsand are refused.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// pinned is the version of clang.
const pinned = "16.0.6"

// A target is a byte order.
type target struct{ name, tags string }

func targets() []target {
	return []target{
		{"bpfel", "386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64"},
		{"bpfeb", "mips || mips64 || ppc64 || s390x"},
	}
}

// maps are those of the programs. An instruction that needs one has its index, until the
// loader puts the file descriptor there.
func maps() []string { return []string{"ports", "spare", "refused"} }

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: generate SOURCE DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(source, into string) error {
	cc := cmp.Or(os.Getenv("CC"), "clang-16")
	out, err := exec.Command(cc, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s: %w; install clang %s (Debian 12: clang-16) or set CC", cc, err, pinned)
	}
	if m := regexp.MustCompile(`version (\S+)`).FindSubmatch(out); m == nil || string(m[1]) != pinned {
		return fmt.Errorf("%s is not clang %s: %s", cc, pinned, bytes.TrimSpace(out))
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	for _, t := range targets() {
		code, err := t.file(cc, source, text)
		if err == nil {
			err = os.WriteFile(filepath.Join(into, "instructions_"+t.name+".go"), code, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file is the Go of one byte order.
func (t target) file(cc, source string, text []byte) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "// Code generated from bind.c by clang %s; DO NOT EDIT.\n// sha256 of bind.c: %x\n\n//go:build %s\n\npackage program\n\n", pinned, sha256.Sum256(text), t.tags)
	b.WriteString("// Instructions of the programs; those of the second pair do not ask for the PID.\nconst (\n")
	for i, v := range []struct{ suffix, flag string }{{"", "-DPID"}, {"NoPID", "-UPID"}} {
		if i > 0 {
			b.WriteString("\n")
		}
		progs, err := t.compile(cc, source, v.flag)
		if err != nil {
			return nil, err
		}
		for _, p := range progs {
			fmt.Fprintf(&b, "%s%s = %s\n", p.name, v.suffix, literal(p.code))
		}
	}
	b.WriteString(")\n")
	return format.Source([]byte(b.String()))
}

// literal is a string of Go with an instruction a line.
func literal(code []byte) string {
	lines := []string{`""`}
	for insn := range slices.Chunk(code, 8) {
		line := ""
		for _, c := range insn {
			line += fmt.Sprintf(`\x%02x`, c)
		}
		lines = append(lines, `"`+line+`"`)
	}
	return strings.Join(lines, " +\n")
}

// A program is the code of one section.
type program struct {
	name string
	code []byte
}

func (t target) compile(cc, source, flag string) ([]program, error) {
	dir, err := os.MkdirTemp("", "portguard-generate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	object := filepath.Join(dir, "bind.o")
	cmd := exec.Command(cc, "-target", t.name, "-mcpu=v3", "-O2", "-Wall", "-Wextra", "-Werror", flag, "-c", source, "-o", object)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	f, err := elf.Open(object)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var out []program
	for _, s := range f.Sections {
		if name, ok := strings.CutPrefix(s.Name, "cgroup/"); ok {
			code, err := s.Data()
			if err == nil {
				err = relocate(f, s.Name, code)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			out = append(out, program{name, code})
		}
	}
	return out, nil
}

// relocate writes the index of the map into each instruction that needs one
// (BPF_PSEUDO_MAP_FD of include/uapi/linux/bpf.h is source register 1).
func relocate(f *elf.File, section string, code []byte) error {
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	rel := f.Section(".rel" + section)
	if rel == nil {
		return errors.New("it has no relocations, and so no maps")
	}
	entries, err := rel.Data()
	if err != nil {
		return err
	}
	for e := range slices.Chunk(entries, 16) {
		at, info := f.ByteOrder.Uint64(e), f.ByteOrder.Uint64(e[8:])
		name := symbols[info>>32-1].Name
		i := slices.Index(maps(), name)
		if i < 0 || uint32(info) != 1 {
			return fmt.Errorf("a relocation of kind %d leads to %q", uint32(info), name)
		}
		code[at+1] |= pseudoMap(f.ByteOrder)
		f.ByteOrder.PutUint32(code[at+4:], uint32(i))
	}
	return nil
}

// pseudoMap is source register 1 in the byte of registers, which is in the byte order too.
func pseudoMap(order binary.ByteOrder) byte {
	if order == binary.LittleEndian {
		return 1 << 4
	}
	return 1
}
