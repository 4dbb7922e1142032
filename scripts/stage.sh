#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# stage.sh BINARY LICENSES puts everything that is installed below DESTDIR: the plugin
# into BINDIR, units into UNITDIR, the rest below PREFIX. LICENSES are those of what is
# linked in. GZIP_MAN=1 compresses the manual page, as packages do.
set -eu
umask 022
cd "$(dirname "$0")/.."
binary=$1 licenses=$2
share=$DESTDIR$PREFIX/share
doc=$share/doc/portguard

install -d "$DESTDIR$BINDIR" "$DESTDIR$PREFIX/bin" "$DESTDIR$UNITDIR" "$share/man/man8" "$DESTDIR$ZSHDIR" \
	"$share/bash-completion/completions" "$share/fish/vendor_completions.d"

# A runtime may start the plugin at any moment: the new one is renamed over the old.
install -m 755 "$binary" "$DESTDIR$BINDIR/.portguard.new"
mv -f "$DESTDIR$BINDIR/.portguard.new" "$DESTDIR$BINDIR/portguard"
[ "$BINDIR" = "$PREFIX/bin" ] || ln -sfn "$BINDIR/portguard" "$DESTDIR$PREFIX/bin/portguard"

for unit in systemd/portguard-restore.service monitoring/portguard-metrics.service monitoring/portguard-metrics.timer; do
	sed "s|/opt/cni/bin/|$BINDIR/|" "$unit" >"$DESTDIR$UNITDIR/$(basename "$unit")"
	chmod 644 "$DESTDIR$UNITDIR/$(basename "$unit")"
done

install -m 644 packaging/portguard.8 "$share/man/man8/portguard.8"
[ -z "${GZIP_MAN:-}" ] || gzip -9nf "$share/man/man8/portguard.8"
install -m 644 packaging/portguard.bash "$share/bash-completion/completions/portguard"
install -m 644 packaging/_portguard "$DESTDIR$ZSHDIR/_portguard"
install -m 644 packaging/portguard.fish "$share/fish/vendor_completions.d/portguard.fish"

DOCDIR="$doc" sh scripts/stage-docs.sh "$licenses"
