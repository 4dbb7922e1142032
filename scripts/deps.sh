#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages PACKAGES, if one of COMMANDS is missing. A user who
# may not install is told in one line what is missing.
set -eu

missing=
for c in $COMMANDS; do
	command -v "$c" >/dev/null || missing="$missing $c"
done
# gcc without the C library's headers compiles nothing, and the race detector
# needs a C compiler that does.
[ -f /usr/include/stdlib.h ] || missing="$missing stdlib.h"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing:$missing; on Debian: sudo apt-get install $PACKAGES" >&2
	exit 1
fi
apt-get update -q
# shellcheck disable=SC2086 # one word a package
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $PACKAGES
