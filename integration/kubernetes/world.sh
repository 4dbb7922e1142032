#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# world.sh COMMAND... runs a command in namespaces of its own (mounts, processes,
# network, host name, cgroups) with an empty tmpfs on /mnt. When the command ends, or
# this script is killed, the kernel ends everything that the command started. What it
# cannot remove by itself, the cgroups, is removed here; then it is proven that the
# machine is as it was.
set -eu

# Every hierarchy of cgroups that is mounted: one of v2, or many of v1.
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

# What of the machine a node could change: its mounts, named network namespaces, and
# those sysctls that the kubelet and kube-proxy set.
machine() {
	awk '$2 ~ "^/(mnt|etc|opt|sys|proc|var/lib|run/containerd)(/|$)" { print "mount", $2, $3 }' /proc/mounts
	ls /run/netns 2>/dev/null | grep '^cni-' || true # others are those of other tests
	sysctl -a --pattern '^(vm\.(overcommit_memory|panic_on_oom)|kernel\.(panic|panic_on_oops|keys\.root_max.*)|net\..*forward|net\.netfilter\.nf_conntrack_(max|tcp_.*|udp_.*)|net\.ipv4\.ip_local.*)$' 2>/dev/null |
		grep -v '\.conf\.[^.]*[0-9]\.'
	true
}

# With v2 only a group without processes has controllers to hand on. The root of the
# machine is exempt, that of a container is not: its processes move into a leaf.
delegate() {
	[ -e "$1/cgroup.subtree_control" ] && [ -s "$1/cgroup.controllers" ] || return 0
	if [ -e "$1/cgroup.type" ]; then
		mkdir -p "$1/leaf"
		while read -r pid; do echo "$pid" >"$1/leaf/cgroup.procs" || true; done <"$1/cgroup.procs" 2>/dev/null
	fi
	sed 's/[^ ]*/+&/g' "$1/cgroup.controllers" >"$1/cgroup.subtree_control"
}

enter() {
	for h in $(hierarchies); do
		echo $$ >"$h/$group/cgroup.procs"
		[ ! -e "$h/$group/cgroup.type" ] || export WORLD_CPU="$h/$group/cpu.stat"
	done
	exec unshare --cgroup sh "$0" --leave "$@"
}

# The group is the root of the world's cgroups by now, and of v2 it must be empty too.
# The signal of the parent's death ends the world when this script is killed.
leave() {
	for h in $(hierarchies); do
		[ ! -e "$h/$group/cgroup.type" ] || { mkdir "$h/$group/world" && echo $$ >"$h/$group/world/cgroup.procs"; }
	done
	exec setpriv --pdeathsig KILL unshare --mount --pid --net --uts --ipc --fork --kill-child --mount-proc \
		sh "$0" --inside "$@"
}

# The first process of the world. It collects all that nobody waits for.
inside() {
	hostname world
	mount -t tmpfs -o mode=755 tmpfs /mnt
	ip link set lo up
	"$@"
	exit $?
}

group=${WORLD_GROUP:-portguard-e2e-$$}
case ${1:-} in
--enter) shift; enter "$@" ;;
--leave) shift; leave "$@" ;;
--inside) shift; inside "$@" ;;
esac

[ "$(id -u)" = 0 ] || { echo "world.sh needs root: it makes namespaces; try sudo" >&2; exit 1; }
before=$(machine)
for h in $(hierarchies); do
	delegate "$h"
	for g in "$h"/portguard-e2e-*; do # of a script that was killed with signal 9
		[ ! -d "$g" ] || kill -0 "${g##*-}" 2>/dev/null || find "$g" -depth -type d -exec rmdir {} +
	done
	mkdir "$h/$group"
	for f in cpus mems; do # of v1: a new group has none
		[ ! -e "$h/cpuset.$f" ] || [ -e "$h/cgroup.subtree_control" ] || cat "$h/cpuset.$f" >"$h/$group/cpuset.$f"
	done
done
code=0
WORLD_GROUP=$group sh "$0" --enter "$@" &
world=$!
trap 'kill -KILL $world' INT TERM HUP
wait $world || code=$?
trap '' INT TERM HUP
wait $world 2>/dev/null || true

left=
for h in $(hierarchies); do
	for _ in 1 2 3 4 5 6 7 8 9 10; do # a process that was killed leaves its group a moment later
		find "$h/$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[ -e "$h/$group" ] || break
		sleep 0.5
	done
	[ ! -e "$h/$group" ] || left="$left $h/$group"
done
after=$(machine)
[ -z "$left" ] || { echo "left behind:$left" >&2; code=1; }
[ "$before" = "$after" ] || {
	printf '%s\n' "$before" >"${TMPDIR:-/tmp}/world-$$"
	echo "the machine is not as it was:" >&2
	printf '%s\n' "$after" | diff "${TMPDIR:-/tmp}/world-$$" - >&2
	rm -f "${TMPDIR:-/tmp}/world-$$"
	code=1
}
exit $code
