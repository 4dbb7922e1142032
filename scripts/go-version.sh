#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fails with one line when Go is missing or older than go.mod asks for. Older
# ones do not get as far: they stop at the first word of go.mod they do not know.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}
want=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)
die() {
	echo "portguard needs Go $want or newer; $1" >&2
	exit 1
}

command -v "$go" >/dev/null || die "there is no \"$go\" on PATH"
# A Go that may fetch a newer one, and can, answers with the newer one's version.
have=$("$go" env GOVERSION 2>/dev/null) || have=
# Outside of the module it says what it is itself.
[ -n "$have" ] || have=$(cd / && "$go" env GOVERSION 2>/dev/null) || have=
case $have in
go[0-9]*) ;;
devel*) exit 0 ;;
*) die "\"$go env GOVERSION\" says \"$have\"" ;;
esac
number=$(echo "$have" | sed 's/^go\([0-9]*\.[0-9]*\).*/\1/')
[ "$(printf '%s\n' "$want" "$number" | sort -V | head -n 1)" = "$want" ] || die "this is $have"
