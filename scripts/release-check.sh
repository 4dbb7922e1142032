#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A release has a section in CHANGELOG.md with its version, and nothing above it. What
# is not tagged is none, and may be built all the same.
set -eu
cd "$(dirname "$0")/.."
version=$(sh scripts/version.sh)
newest=$(awk '/^## / { print $2; exit }' CHANGELOG.md)
case $version in
v[0-9]*.[0-9]*.[0-9]*-* | [0-9a-f]*) echo "not a release: $version" >&2 ;;
v"$newest") ;;
*)
	echo "this is $version, and the first section of CHANGELOG.md is \"$newest\"; make that the one of the release" >&2
	exit 1
	;;
esac
