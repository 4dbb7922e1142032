// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// HasSet reports whether an ipset of that name exists. It asks for the header
// only: KUBE-IPVS-IPS has as many members as the cluster has Services.
func HasSet(name string) (bool, error) {
	req := nl.NewNetlinkRequest(nl.IPSET_CMD_HEADER|unix.NFNL_SUBSYS_IPSET<<8, unix.NLM_F_ACK)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
	req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		return false, nil // no such set; no ip_set in the kernel
	}
	return false, fmt.Errorf("could not ask for ipset %s: %w", name, err)
}
