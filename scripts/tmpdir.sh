#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Prints the first folder for temporary files in which programs may run: the go
# tool and the tests run there what they have built, and some machines have /tmp
# mounted noexec.
cd "$(dirname "$0")/.." || exit 1
# The dot keeps the go tool from taking what lies there for packages.
own=$PWD/bin/.tmp

for dir in "${TMPDIR:-/tmp}" /var/tmp "$own"; do
	[ "$dir" != "$own" ] || mkdir -p "$own"
	try=$(mktemp -d "$dir/portguard-exec-XXXXXX" 2>/dev/null) || continue
	printf '#!/bin/sh\n' >"$try/run"
	chmod 755 "$try/run"
	if "$try/run" 2>/dev/null; then
		rm -rf "$try"
		echo "$dir"
		exit 0
	fi
	rm -rf "$try"
done
echo "programs may run in none of ${TMPDIR:-/tmp}, /var/tmp and $own; set TMPDIR to a folder where they may" >&2
exit 1
