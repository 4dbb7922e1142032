#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# debian-root.sh SUITE DIR makes the root of a minimal Debian in DIR, with make and
# PACKAGES; nothing to do if it is there with all of them. The packages come from
# where this machine's apt gets Debian's own, or from MIRROR.
set -eu
suite=$1 dir=$2
mark=$dir/etc/portguard-root
packages="make ca-certificates $PACKAGES"

if [ "$(cat "$mark" 2>/dev/null)" = "$packages" ]; then
	exit 0
fi
command -v debootstrap >/dev/null || { echo "missing: debootstrap; sudo apt-get install debootstrap" >&2; exit 1; }
if [ -z "${MIRROR:-}" ]; then
	MIRROR=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
fi
[ -n "$MIRROR" ] || { echo "apt knows no mirror of Debian; name one: MIRROR=http://..." >&2; exit 1; }
proxy=$(apt-config shell p Acquire::http::Proxy)
eval "$proxy"
[ -z "${p:-}" ] || export http_proxy="$p"

# A root that was not finished is made again.
rm -rf "$dir" "$dir.new"
mkdir -p "$dir.new"
debootstrap --variant=minbase --include="$(echo "$packages" | tr ' ' ,)" "$suite" "$dir.new" "$MIRROR" >"$dir.log" 2>&1 || {
	tail -n 5 "$dir.log" >&2
	echo "debootstrap of $suite into $dir.new failed; all it said is in $dir.log" >&2
	exit 1
}
[ -z "${p:-}" ] || echo "Acquire::http::Proxy \"$p\";" >"$dir.new/etc/apt/apt.conf.d/proxy"
echo "$packages" >"$dir.new/etc/portguard-root"
mv "$dir.new" "$dir"
