// SPDX-License-Identifier: Apache-2.0

// Command cni calls the node's network as a runtime does, by CNI's library, for what
// containerd never calls. "cni add CONTAINER NETNS PORT" attaches a network namespace;
// "cni gc CONTAINER..." says which containers there are.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

const ifName = "eth0"

func main() {
	if err := call(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call(ctx context.Context, verb string, args []string) error {
	cni := libcni.NewCNIConfig([]string{"/opt/cni/bin"}, nil)
	list, err := libcni.ConfListFromFile("/etc/cni/net.d/10-e2e.conflist")
	if err != nil {
		return err
	}
	switch verb {
	case "add":
		port, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		mappings := []map[string]any{{"hostPort": port, "containerPort": 80, "protocol": "tcp"}}
		_, err = cni.AddNetworkList(ctx, list, &libcni.RuntimeConf{ContainerID: args[0], NetNS: args[1], IfName: ifName,
			CapabilityArgs: map[string]any{"portMappings": mappings}})
		return err
	case "gc":
		valid := []types.GCAttachment{}
		for _, id := range args {
			valid = append(valid, types.GCAttachment{ContainerID: id, IfName: ifName})
		}
		return cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid})
	}
	return fmt.Errorf("no verb %q", verb)
}
