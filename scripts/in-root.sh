#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# in-root.sh ROOT COMMAND [ARG...] runs a command in another root, with the kernel's file
# systems and an empty /run. It is for a mount namespace that ends with it. A chroot is no
# such root: no user namespace can be made there.
set -eu
root=$1
shift
mount --rbind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
cd "$root"
mkdir -p old
pivot_root . old
cd /
umount -l /old
exec "$@"
