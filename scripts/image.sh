#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# image.sh makes the image of deploy/ in DISTDIR, without docker: an OCI layout of all
# ARCHES, and a docker archive of each. The programs are those of the tarballs, to the byte.
set -eu
cd "$(dirname "$0")/.."
. scripts/release-env.sh

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
"$go" build -o "$stage/attribution" ./scripts/attribution
for arch in $ARCHES; do
	dir=$stage/files/$arch
	mkdir -p "$dir"
	GOOS=linux GOARCH=$arch sh scripts/build.sh "$dir/portguard"
	GOOS=linux GOARCH=$arch sh scripts/build.sh "$dir/portguard-install" ./cmd/portguard-install
	GOOS=linux GOARCH=$arch "$stage/attribution" -licenses "$dir/THIRD-PARTY-LICENSES" "$dir/portguard"
	cp LICENSE "$dir"
done
cd deploy
GOFLAGS=$others "$go" run ./image -files "$stage/files" -out "$DISTDIR" -version "$VERSION" -created "$SOURCE_DATE_EPOCH"
