#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# packages-test.sh SUITE installs, upgrades and removes the packages in a root of that
# Debian, with a pod that has a hostPort meanwhile. What is asked there is in
# packaging/check.sh. Mounts and the network are in namespaces of their own.
set -eu
cd "$(dirname "$0")/.."
suite=$1
if [ -n "${XDG_CACHE_HOME:-}" ]; then cache=$XDG_CACHE_HOME/portguard; else cache=/var/cache/portguard; fi
root=${CACHE:-$cache}/packages-$suite
arch=$(dpkg --print-architecture)

mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9
PACKAGES="nftables iproute2 systemd init-system-helpers rpm bash-completion zsh fish man-db" sh scripts/debian-root.sh "$suite" "$root"
rm -rf "$root/packages"
for version in v0.0.1 v0.0.2; do
	ARCHES=$arch PACKAGE_ARCHES=$arch VERSION=$version DISTDIR="$root/packages" sh scripts/dist.sh packages >/dev/null
done
cp packaging/check.sh "$root/packages"
exec unshare --mount --pid --net --fork --kill-child sh scripts/in-root.sh "$root" /usr/bin/env -i HOME=/root TERM=dumb \
	LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /packages/check.sh
