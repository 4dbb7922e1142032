#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes a tarball with a static plugin for each of ARCHES, and their SHA256SUMS,
# in DISTDIR. The same commit with the same tags gives the same bytes with the
# same Go, GNU tar and gzip: nothing else of the machine gets in.
#
# VERSION names the files. What the plugin itself prints is what the go tool
# makes of the commit and its tags.
set -eu
umask 022
export LC_ALL=C TZ=UTC
unset TAR_OPTIONS GZIP
cd "$(dirname "$0")/.."

if [ -z "${VERSION:-}" ]; then
	VERSION=$(git describe --tags --always --abbrev=12)
	# Unlike describe --dirty, and like the go tool, this counts new files too.
	[ -z "$(git status --porcelain)" ] || VERSION=$VERSION-dirty
fi
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"

# What a machine may have set otherwise. The levels are Go's defaults.
export GOFLAGS=-buildvcs=true GOWORK=off CGO_ENABLED=0 GOOS=linux
export GOAMD64=v1 GOARM64=v8.0 GOARM=7 GOPPC64=power8 GORISCV64=rva20u64

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/out" "$stage/conflist" "$stage/systemd"
install -m 644 LICENSE README.md CHANGELOG.md "$stage"
install -m 644 conflist/* "$stage/conflist"
install -m 644 systemd/* "$stage/systemd"

for arch in $ARCHES; do
	name=portguard-linux-$arch-$VERSION
	GOARCH=$arch ${GO:-go} build -trimpath -ldflags "-s -w" -o "$stage/portguard" ./plugins/meta/portguard
	tar -C "$stage" --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
		-cf "$stage/out/$name.tar" portguard LICENSE README.md CHANGELOG.md conflist systemd
	gzip -9n <"$stage/out/$name.tar" >"$stage/out/$name.tgz"
	rm "$stage/out/$name.tar"
done
(cd "$stage/out" && sha256sum -- *.tgz >SHA256SUMS)

mkdir -p "$DISTDIR"
mv "$stage"/out/* "$DISTDIR"
cat "$DISTDIR/SHA256SUMS"
