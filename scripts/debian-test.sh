#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# debian-test.sh SUITE [TARGET...] runs make with the targets ("test" if there is
# none) on a copy of this tree, in a root of that Debian, with this machine's Go
# and module cache. The root is kept in CACHE for the next time.
#
# Mounts are in a namespace of their own, which the kernel clears away, however this ends.
# Processes are not: in a PID namespace of its own a node could not tell who is dead.
set -eu
cd "$(dirname "$0")/.."
suite=$1
shift
[ $# -gt 0 ] || set -- test
if [ -n "${XDG_CACHE_HOME:-}" ]; then cache=$XDG_CACHE_HOME/portguard; else cache=/var/cache/portguard; fi
root=${CACHE:-$cache}/debian-$suite
go=${GO:-go}

mkdir -p "$(dirname "$root")"
# One run at a time, until the last process has ended: the next one replaces the tree.
exec 9>"$root.lock"
flock 9
sh scripts/debian-root.sh "$suite" "$root"
"$go" mod download

rm -rf "$root/src"
git clone -q . "$root/src"
# What is not committed yet is to be tested too.
git ls-files -z --deleted | (cd "$root/src" && xargs -0r rm -f)
git ls-files -z --cached --others --exclude-standard |
	tar --create --null --files-from=- --ignore-failed-read --file=- 2>/dev/null | tar --extract --directory="$root/src"
mkdir -p "$root/usr/local/go" "$root/root/go/pkg/mod"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"

export root goroot="$("$go" env GOROOT)" modules="$("$go" env GOMODCACHE)"
exec unshare --mount --fork --kill-child sh -euc '
	mount --bind -o ro "$goroot" "$root/usr/local/go"
	mount --bind -o ro "$modules" "$root/root/go/pkg/mod"
	exec sh scripts/in-root.sh "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 CI="${CI:-}" PATH=/usr/bin:/bin \
		GOTOOLCHAIN=local GOFLAGS=-buildvcs=auto GOPROXY="${GOPROXY:-off}" make -C /src "$@"
' sh "$@"
