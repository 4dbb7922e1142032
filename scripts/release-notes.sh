#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints what the changelog says of its newest version.
set -eu
cd "$(dirname "$0")/.."
awk '/^## / { if (seen++) exit; next } seen' CHANGELOG.md
