# SPDX-License-Identifier: Apache-2.0
#
# boot.sh DISK IPTABLES makes namespaces into a machine: a disk of its own over /etc, /var
# and /opt, a fresh /run and /sys, and the flavour of iptables. It stays as the machine's
# first process and collects all that nobody waits for.
set -eu
disk=$1 flavour=$2
hostname node1

cgroups=$(awk '$3 ~ /^cgroup/ { print $3, $2, $4 }' /proc/mounts)
umount --recursive --lazy /sys
mount -t sysfs sysfs /sys
echo "$cgroups" | grep -q '/sys/fs/cgroup ' || mount -t tmpfs tmpfs /sys/fs/cgroup
echo "$cgroups" | while read -r type at options; do
	# Of the options of v1 those that name the hierarchy come last.
	case $type in
	cgroup) mkdir -p "$at"; mount -t cgroup -o "$(echo "$options" | sed 's/^.*relatime,//; s/xattr,//; s/release_agent=[^,]*,//')" cgroup "$at" ;;
	cgroup2) mkdir -p "$at"; mount -t cgroup2 cgroup2 "$at" ;;
	esac
done
# Those of pods that ran when the machine went down.
find /sys/fs/cgroup -depth -type d \( -path '*/kubepods*' -o -path '*/k8s.io*' \) -exec rmdir {} + 2>/dev/null || true
mount -t bpf bpf /sys/fs/bpf

for d in etc var opt; do
	mkdir -p "$disk/$d" "$disk/overlay/$d"
	mount -t overlay -o "lowerdir=/$d,upperdir=$disk/$d,workdir=$disk/overlay/$d" overlay "/$d"
done
mkdir -p "$disk/containerd" /var/lib/containerd # overlays of containers do not lie on an overlay
mount --bind "$disk/containerd" /var/lib/containerd
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
mount --bind /run/netns /run/netns # as "ip netns" does, which would hide those of pods later
mount --make-shared /run/netns
mkdir -p /etc/cni/net.d /opt/cni/bin /etc/alternatives

for c in iptables ip6tables; do
	for verb in "" -save -restore; do
		ln -sf "/usr/sbin/$c-$flavour$verb" "/etc/alternatives/$c$verb"
	done
done

# The kubelet sets these, and they would be those of the whole machine. It finds them set.
cover() { echo "$2" >"/run/.$(basename "$1")"; mount --bind "/run/.$(basename "$1")" "/proc/sys/$1"; }
cover vm/overcommit_memory 1
cover kernel/panic 10
cover kernel/panic_on_oops 1
cover kernel/keys/root_maxkeys 1000000
cover kernel/keys/root_maxbytes 25000000
cover kernel/random/boot_id "$(cat /proc/sys/kernel/random/uuid)" # each boot has its own

ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0
touch /run/booted
sleep infinity
exit
