#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# e2e.sh tells the stories on a node of each kind: MODE is kube-proxy's (iptables-nft,
# iptables-legacy or nftables), CONTAINERD is 1 or 2. Without MODE all are tried, with MODE
# alone the newer containerd. RUN chooses stories, as go test -run does. The last line is
# "N passed, M failed".
set -eu
cd "$(dirname "$0")"
./build.sh
export CACHE="$PWD/.cache"
combinations="iptables-nft 1
iptables-nft 2
iptables-legacy 1
iptables-legacy 2
nftables 1
nftables 2"
[ -z "${MODE:-}" ] || combinations="$MODE ${CONTAINERD:-2}"

mkdir -p "$CACHE/logs"
passed=0 failed=0
while read -r mode containerd; do
	out=$CACHE/logs/$mode-containerd$containerd.out
	echo "== kube-proxy: $mode, containerd: $containerd"
	code=0
	MODE=$mode CONTAINERD=$containerd ./world.sh "$CACHE/bin/stories.test" -test.v -test.timeout=3h -test.parallel=16 ${RUN:+-test.run="$RUN"} >"$out" 2>&1 </dev/null || code=$?
	cat "$out"
	counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$out" | tail -n 1)
	p=${counts% *} f=${counts#* }
	# What failed without a story that says so: the world is not as it was, or it never ended.
	[ "$code" = 0 ] || [ "${f:-0}" != 0 ] || f=1
	passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0}))
done <<END
$combinations
END
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
