#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Puts promtool into bin/tools, for the tests of monitoring/. It comes out of
# Debian's package, which is promtool since Debian 13. Before that it is in
# prometheus, and to install that would start the daemon.
set -eu
cd "$(dirname "$0")/.."

if [ -x bin/tools/promtool ] || command -v promtool >/dev/null; then
	exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# As root, apt-get downloads as the user _apt.
chown _apt "$dir" 2>/dev/null || true
fetch() { (cd "$dir" && { apt-get download -q promtool 2>/dev/null || apt-get download -q prometheus; }); }
# Without lists, or with old ones, there is nothing to download.
fetch || { apt-get update -q && fetch; }
dpkg-deb --fsys-tarfile "$dir"/prom*.deb | tar -xOf - ./usr/bin/promtool >"$dir/promtool"
chmod 755 "$dir/promtool"
"$dir/promtool" --version >/dev/null
mkdir -p bin/tools
mv "$dir/promtool" bin/tools/promtool
