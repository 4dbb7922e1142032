#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# node.sh up [FLAGS]      builds what is missing and starts a cluster of one node
# node.sh kubectl ARGS... asks its API
# node.sh world CMD...    runs a command beside the control plane, where the clients are
# node.sh exec CMD...     runs a command on the node
# node.sh down            ends it all
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$here/.cache

# The first process of the world, as seen from here: world.sh, sh or setpriv, unshare, sh.
first() {
	pid=$(cat "$cache/node.pid")
	for _ in 1 2; do pid=$(tr -d ' ' <"/proc/$pid/task/$pid/children"); done
	echo "$pid"
}
world() { nsenter --target "$(first)" --mount --pid --net --uts --ipc --cgroup -- env KUBECONFIG=/mnt/kubeconfig PATH="$cache/bin:$PATH:/opt/cni/bin" "$@"; }

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
up)
	"$here/build.sh"
	rm -f "$cache/node"
	mkdir -p "$cache/logs"
	setsid "$here/world.sh" "$cache/bin/node" -cache "$cache" "$@" >"$cache/logs/node.log" 2>&1 </dev/null &
	echo $! >"$cache/node.pid"
	while [ ! -e "$cache/node" ]; do
		kill -0 "$(cat "$cache/node.pid")" 2>/dev/null || { cat "$cache/logs/node.log" >&2; exit 1; }
		sleep 0.2
	done
	;;
kubectl) world kubectl "$@" ;;
world) world "$@" ;;
exec)
	# shellcheck disable=SC2046 # words
	world nsenter $(cat "$cache/node") "$@"
	;;
down)
	pid=$(cat "$cache/node.pid")
	kill "$pid"
	while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
	rm -f "$cache/node.pid" "$cache/node"
	cat "$cache/logs/node.log"
	;;
*) sed -n '4,8s/^# //p' "$0" >&2; exit 2 ;;
esac
