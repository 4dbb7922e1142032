#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# dist.sh [tarballs] [packages] makes these in DISTDIR, for each of ARCHES, an SBOM
# beside them, and SHA256SUMS. Packages are made for PACKAGE_ARCHES among them. The
# same commit with the same tags gives the same bytes with the same Go, GNU tar and
# gzip.
set -eu
cd "$(dirname "$0")/.."
. scripts/release-env.sh
unset TAR_OPTIONS GZIP

# Versions of packages begin with a digit, and know no "-".
number=$(echo "${VERSION#v}" | sed 's/-rc/~rc/; s/-/+/g')
case $number in
[0-9]*.*) ;;
*) number=0.0.0+$number ;;
esac

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/out"
"$go" build -o "$stage/attribution" ./scripts/attribution

build() { # ARCH
	GOOS=linux GOARCH=$1 GO="$go" sh scripts/build.sh "$stage/portguard"
	GOOS=linux GOARCH=$1 "$stage/attribution" -version "$VERSION" -created "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
		-licenses "$stage/licenses" -sbom "$stage/out/portguard-linux-$1-$VERSION.spdx.json" "$stage/portguard"
}

tarball() { # ARCH
	DOCDIR="$stage/portguard-doc" sh scripts/stage-docs.sh "$stage/licenses"
	tar -C "$stage" --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
		-cf - portguard portguard-doc | gzip -9n >"$stage/out/portguard-linux-$1-$VERSION.tgz"
}

package() { # ARCH FORMAT ZSHDIR
	root=$stage/$2
	rm -rf "$root"
	DESTDIR="$root" PREFIX=/usr UNITDIR=/usr/lib/systemd/system ZSHDIR="$3" GZIP_MAN=1 sh scripts/stage.sh "$stage/portguard" "$stage/licenses"
	if [ "$2" = deb ]; then
		# Debian's policy wants all licences in this file.
		cat packaging/deb/copyright "$stage/licenses" >"$root/usr/share/doc/portguard/copyright"
		rm "$root/usr/share/doc/portguard/THIRD-PARTY-LICENSES"
		ln -s copyright "$root/usr/share/doc/portguard/THIRD-PARTY-LICENSES"
	fi
	find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	ARCH=$1 PKGVERSION=$number STAGE=$root "$stage/nfpm" package --config packaging/nfpm.yaml --packager "$2" --target "$stage/out" >/dev/null
}

case "$*" in
*packages*)
	: "${BINDIR:?}"
	export BINDIR
	# It is ten times as much as the plugin.
	GOFLAGS=$others "$go" build -modfile=packaging/nfpm.mod -o "$stage/nfpm" github.com/goreleaser/nfpm/v2/cmd/nfpm
	;;
esac
for arch in $ARCHES; do
	build "$arch"
	for kind; do
		case $kind:" $PACKAGE_ARCHES " in
		tarballs:*) tarball "$arch" ;;
		packages:*" $arch "*)
			package "$arch" deb /usr/share/zsh/vendor-completions
			package "$arch" rpm /usr/share/zsh/site-functions
			;;
		esac
	done
done
(cd "$stage/out" && sha256sum -- * >SHA256SUMS)

mkdir -p "$DISTDIR"
mv "$stage"/out/* "$DISTDIR"
cat "$DISTDIR/SHA256SUMS"
