#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# build.sh FILE [PACKAGE] builds the plugin, or another program, for GOARCH, static unless
# CGO_ENABLED, LDFLAGS and PIE say otherwise. It says that it is what scripts/version.sh says.
set -eu
cd "$(dirname "$0")/.."
version=$(sh scripts/version.sh)
export CGO_ENABLED="${CGO_ENABLED:-0}"
# shellcheck disable=SC2086 # a flag or none
exec "${GO:-go}" build -trimpath ${PIE:+-buildmode=pie} -ldflags "-X main.stamped=$version ${LDFLAGS--s -w}" -o "$1" "${2:-./plugins/meta/portguard}"
