// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/plugin"
	"github.com/portguard/portguard/pkg/state"
)

// idle reports whether a DEL has nothing to do, as for a pod without hostPorts, and skel nothing
// to complain of: it asks the same, but reads the configuration twice more, and most of what
// such a DEL computes is that.
func idle(given []byte) bool {
	args := &skel.CmdArgs{StdinData: given, ContainerID: os.Getenv("CNI_CONTAINERID"), IfName: os.Getenv("CNI_IFNAME")}
	if utils.ValidateContainerID(args.ContainerID) != nil || utils.ValidateInterfaceName(args.IfName) != nil || os.Getenv("CNI_PATH") == "" {
		return false
	}
	if !plugin.Idle(args) {
		return false
	}
	own, err := ns.CheckNetNS(os.Getenv("CNI_NETNS"))
	return err == nil && !own
}

// wary takes away what CNI_NETNS names if that is no namespace: skel would open it after a DEL,
// and at a FIFO wait for ever. Nothing needs the name of one that is gone.
func wary() {
	if _, err := state.StatNetns(os.Getenv("CNI_NETNS")); err != nil {
		_ = os.Unsetenv("CNI_NETNS")
	}
}

// whatever has a DEL done whatever its configuration says: skel would refuse one without a
// name, or of another version, so it is shown a plain one.
func whatever(del func(*skel.CmdArgs) error, given []byte) func(*skel.CmdArgs) error {
	var pipe [2]int // os.Pipe would begin to poll
	if unix.Pipe2(pipe[:], unix.O_CLOEXEC) == nil {
		os.Stdin = os.NewFile(uintptr(pipe[0]), "plain configuration")
		_, _ = unix.Write(pipe[1], []byte(`{"cniVersion":"`+version.Current()+`","name":"any"}`))
		_ = unix.Close(pipe[1])
	}
	return func(args *skel.CmdArgs) error {
		args.StdinData = given
		return del(args)
	}
}
