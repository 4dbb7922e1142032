// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/plugins/pkg/ns"
	"golang.org/x/sys/unix"

	"github.com/portguard/portguard/pkg/netconf"
	"github.com/portguard/portguard/pkg/state"
)

// deliver hands on what the plugins before us returned.
func (p *Plugin) deliver(req *netconf.Request) error {
	if _, err := p.Stdout.Write(req.Result); err != nil {
		return undelivered{fmt.Errorf("could not hand the result to the container runtime: %w", err)}
	}
	return nil
}

// An undelivered result is one that the runtime will not have.
type undelivered struct{ error }

func (u undelivered) Unwrap() error { return u.error }

// podNetns identifies the network namespace of the pod, which must not be the host's:
// skel would look at that only after the change.
func (p *Plugin) podNetns(args *skel.CmdArgs) (state.Netns, error) {
	n, err := p.Node.Sight().Identify(args.Netns)
	if err != nil {
		return n, badNetns(err)
	}
	if args.NetnsOverride != "" {
		return n, nil // skel looks at its value
	}
	pod, err := ns.GetNS(args.Netns)
	if err != nil {
		return n, badNetns(err)
	}
	defer pod.Close()
	if kind, err := unix.IoctlRetInt(int(pod.Fd()), unix.NS_GET_NSTYPE); err == nil && kind != unix.CLONE_NEWNET { // asked since Linux 4.11
		return n, badNetns(fmt.Errorf("%q is not a network namespace", args.Netns))
	}
	return n, notOurs(n)
}

// notOurs refuses the network namespace that this process is in.
func notOurs(n state.Netns) error {
	here, err := state.StatNetns("/proc/thread-self/ns/net")
	if err != nil {
		return badNetns(err)
	}
	if here.Dev == n.Dev && here.Inode == n.Inode {
		return badNetns(errors.New("it is the network namespace of the host"))
	}
	return nil
}

func badNetns(err error) error {
	return newError(types.ErrInvalidNetNS, fmt.Sprintf("CNI_NETNS: %v; the container runtime must name the network namespace of the pod", err))
}
