# SPDX-License-Identifier: Apache-2.0
#
# Sourced by what makes a release, in the repository: the version, the time, and all that
# a machine may have set otherwise. The same commit with the same tags gives the same
# programs with the same Go, in the tarballs, the packages and the image.
umask 022
export LC_ALL=C TZ=UTC
go=${GO:-go}

VERSION=$(sh scripts/version.sh)
# Of a tree without git: the day of its version.
: "${SOURCE_DATE_EPOCH:=$({ [ -e .git ] && git log -1 --format=%ct; } 2>/dev/null ||
	date +%s -d "$(sed -n 's/^## [0-9.]* (\(.*\))$/\1/p' CHANGELOG.md | head -n 1)")}"
export VERSION SOURCE_DATE_EPOCH

# The levels are Go's defaults. The version is put in by scripts/build.sh.
export GOFLAGS="-buildvcs=false $(echo " ${GOFLAGS:-}" | grep -o ' -mod=vendor' || true)" GOWORK=off CGO_ENABLED=0
export GOAMD64=v1 GOARM64=v8.0 GOARM=7 GOPPC64=power8 GORISCV64=rva20u64
export LDFLAGS="-s -w" PIE=
# Not of the main module, which vendor/ is for.
readonly others=-mod=readonly
