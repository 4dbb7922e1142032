#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints the version of this tree: VERSION if it is given, else what git says, else
# (in an unpacked tarball) the newest one of the changelog, with "-dev" behind it if
# something came after that.
set -eu
cd "$(dirname "$0")/.."
if [ -n "${VERSION:-}" ]; then
	echo "$VERSION"
# A tarball may be unpacked below somebody else's repository.
elif [ -e .git ] && version=$(git describe --tags --always --abbrev=12 2>/dev/null); then
	# Unlike describe --dirty, and like the go tool, this counts new files too.
	[ -z "$(git status --porcelain)" ] || version=$version-dirty
	echo "$version"
else
	awk '/^## Unreleased/ { later = "-dev" } /^## [0-9]/ { print "v" $2 later; exit }' CHANGELOG.md
fi
