#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# newcomer.sh SUITE makes a bare Debian with git and make, unpacks Go into /usr/local as
# README.md says, and runs the commands below "Try it" there, as they are written. It
# says how long each of them took. The repository is this one, as it is committed; UNTIL=demo
# ends with the first command that has that word.
#
# Go is the tarball GOTARBALL of go.dev/dl, or what one is made of: this machine's Go.
set -eu
cd "$(dirname "$0")/.."
suite=$1
if [ -n "${XDG_CACHE_HOME:-}" ]; then cache=$XDG_CACHE_HOME/portguard; else cache=/var/cache/portguard; fi
bare=${CACHE:-$cache}/bare-$suite root=${CACHE:-$cache}/newcomer-$suite

mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9
PACKAGES=git sh scripts/debian-root.sh "$suite" "$bare"
rm -rf "$root"
cp -a "$bare" "$root"
trap 'rm -rf "$root"' EXIT
git clone -q --bare . "$root/portguard.git"
if [ -n "${GOTARBALL:-}" ]; then
	tar -C "$root/usr/local" -xzf "$GOTARBALL"
else
	cp -a "$("${GO:-go}" env GOROOT)" "$root/usr/local/go"
fi
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
# A proxy on the way may have a certificate of its own.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
# The address of the README, without the way there.
printf '[url "/portguard.git"]\n\tinsteadOf = https://github.com/portguard/portguard\n[safe]\n\tdirectory = *\n' >"$root/etc/gitconfig"

{
	echo 'set -eu'
	sed -n '/^## Try it/,/^## [^T]/s/^    //p' README.md | sed 's/ *#.*//' | while read -r command; do
		printf 'echo "newcomer: %s"\nbegun=$(date +%%s)\n%s\ntimes >/times\necho "newcomer: %s: $(($(date +%%s) - begun)) s; CPU (user, system) of all so far: $(tail -n 1 /times)"\n' "$command" "$command" "$command"
		case $command in *"${UNTIL:-nothing}"*) break ;; esac
	done
} >"$root/newcomer"
grep -q "^make" "$root/newcomer" || { echo "README.md has no commands below \"Try it\"" >&2; exit 1; }

unshare --mount --fork --kill-child sh scripts/in-root.sh "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 \
	PATH=/usr/local/bin:/usr/bin:/bin GOPROXY="$("${GO:-go}" env GOPROXY)" sh -c "cd /root && . /newcomer"
