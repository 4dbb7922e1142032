// SPDX-License-Identifier: Apache-2.0

// Command node starts a cluster of one node and keeps it until it is told to end. It is
// for people; ../../node.sh starts it in a world of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/integration/kubernetes/node"
)

func main() {
	if err := up(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func up() error {
	cache := flag.String("cache", ".cache", "the folder that build.sh filled")
	mode := flag.String("mode", "nftables", "iptables-nft, iptables-legacy or nftables")
	containerd := flag.String("containerd", "2", "1 for the Debian package, 2 for the one that build.sh built")
	plugin := flag.String("plugin", "portguard", "what has the hostPorts: portguard or portmap")
	options := flag.String("options", "", `more keys of portguard, as JSON: ,"reserve":"off"`)
	flag.Parse()
	c, known := node.Modes[*mode]
	if !known {
		return fmt.Errorf("there is no mode %q", *mode)
	}
	dir, err := filepath.Abs(*cache)
	if err != nil {
		return err
	}
	c.Bin, c.Logs = filepath.Join(dir, "bin"), filepath.Join(dir, "logs")
	c.Containerd, c.Plugin, c.Options = *containerd, *plugin, *options

	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	n, err := node.Up(ctx, c)
	if err != nil {
		return err
	}
	if err := n.Import(ctx, "*.tar"); err != nil {
		return err
	}
	// node.sh waits for this file, and enters by what is in it.
	if err := os.WriteFile(filepath.Join(dir, "node"), []byte(strings.Join(n.Command("").Args[1:], " ")), 0o644); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}
