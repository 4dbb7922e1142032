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

# Most stories wait, so two worlds tell them in half of the time: those that mostly change
# the list of plugins, and the rest. How long a hundred pods and updates take is compared with
# portmap, so nothing runs beside these.
lists='Deploy|DeployNamespace|Status|Swap|WithPortmap'
timed='ManyAtOnce|Updates'

mkdir -p "$CACHE/logs"
passed=0 failed=0 pids='' worlds=''
# shellcheck disable=SC2086 # pids
trap 'kill $pids 2>/dev/null; wait; exit 1' INT TERM HUP

# tell PART FLAG... tells the stories that the flags choose, in a world of its own.
tell() {
	name=$mode-containerd$containerd$1
	shift
	MODE=$mode CONTAINERD=$containerd LOGS=$CACHE/logs/$name ./world.sh "$CACHE/bin/stories.test" \
		-test.v -test.timeout=3h -test.parallel=16 "$@" >"$CACHE/logs/$name.out" 2>&1 </dev/null &
	pids="$pids $!" worlds="$worlds $!:$name"
}

# count waits for the worlds, and says and counts what was told in them.
count() {
	for w in $worlds; do
		out=$CACHE/logs/${w#*:}.out code=0
		wait "${w%%:*}" || code=$?
		cat "$out"
		counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$out" | tail -n 1)
		p=${counts% *} f=${counts#* }
		# What failed without a story that says so: the world is not as it was, or it never ended.
		[ "$code" = 0 ] || [ "${f:-0}" != 0 ] || f=1
		passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0}))
	done
	pids='' worlds=''
}

while read -r mode containerd; do
	echo "== kube-proxy: $mode, containerd: $containerd"
	if [ -n "${RUN:-}" ]; then
		tell "" -test.run="$RUN"
	else
		tell -lists -test.run="^Test($lists)\$"
		tell "" -test.skip="^Test($lists|$timed)\$"
		count
		tell -timed -test.run="^Test($timed)\$"
	fi
	count
done <<END
$combinations
END
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
