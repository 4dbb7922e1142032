// SPDX-License-Identifier: Apache-2.0

package plugin

import "github.com/containernetworking/cni/pkg/skel"

func argsOf(conf string) *skel.CmdArgs {
	return &skel.CmdArgs{ContainerID: "0123456789abcdef", IfName: "eth0", Netns: "/var/run/netns/x", StdinData: []byte(conf),
		Args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"}
}
