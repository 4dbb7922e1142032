#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# stage-docs.sh LICENSES puts the documents into DOCDIR, as they lie in the repository:
# their links work there. LICENSES are those of what is linked in.
set -eu
umask 022
cd "$(dirname "$0")/.."
rm -rf "$DOCDIR"
install -d "$DOCDIR"
for f in README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE $(find conflist deploy docs monitoring policies systemd -type f \
	! -name '*.go' ! -name 'go.*' 2>/dev/null | LC_ALL=C sort); do
	install -D -m 644 "$f" "$DOCDIR/$f"
done
install -m 644 "$1" "$DOCDIR/THIRD-PARTY-LICENSES"
