#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs in the root of a Debian, where scripts/packages-test.sh has put packages of the
# versions 0.0.1 and 0.0.2 into /packages.
set -eu
cd /packages
fail() { echo "FAIL: $*" >&2; exit 1; }
is() { [ "$1" = "$2" ] || fail "$3: got \"$1\", want \"$2\""; }

ip link set lo up
ip netns add pod
ip link add veth0 type veth peer name eth0 netns pod
ip addr add 10.88.0.1/24 dev veth0
ip link set veth0 up
ip -n pod addr add 10.88.0.2/24 dev eth0
ip -n pod link set eth0 up

# cni VERB is what a runtime does. Ports are not held: that would be on the whole machine.
cni() {
	CNI_COMMAND=$1 CNI_CONTAINERID=pod CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin portguard <<'JSON'
{"cniVersion":"1.0.0","name":"n","type":"portguard","reserve":"off","runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]},
"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"veth0"},{"name":"eth0","sandbox":"/run/netns/pod"}],
"ips":[{"address":"10.88.0.2/24","interface":1}]}}
JSON
}
mapped() { nft list table inet portguard 2>/dev/null | grep -c 8080 || true; }

# What is installed does what it is for. ZSH is where zsh looks.
installed() { # VERSION ZSH
	is "$(portguard version)" "portguard v$1" version
	is "$(readlink -f /usr/bin/portguard)" /opt/cni/bin/portguard "on PATH"
	[ -e /usr/lib/systemd/system/portguard-metrics.service ] || fail "no unit of the metrics"
	# What it says of others' units is theirs.
	said=$(systemd-analyze verify /usr/lib/systemd/system/portguard-restore.service /usr/lib/systemd/system/portguard-metrics.timer 2>&1) || true
	case $said in *portguard* | *"not found"*) fail "units: $said" ;; esac
	man -w portguard >/dev/null || fail "no manual page"
	is "$(man --warnings portguard 2>&1 >/dev/null)" "" man
	is "$(bash -ic 'source /usr/share/bash-completion/bash_completion; _completion_loader portguard; COMP_WORDS=(portguard l); COMP_CWORD=1
		_portguard; echo "${COMPREPLY[*]}"' 2>/dev/null)" list bash
	is "$(fish -c 'complete -C "portguard res"' | cut -f 1)" restore fish
	[ -e "$2/_portguard" ] || fail "no $2/_portguard"
	is "$(zsh -fc "fpath+=($2); autoload -Uz compinit; compinit -D -u; echo \$_comps[portguard]")" _portguard zsh
	grep -q "The Go Authors" /usr/share/doc/portguard/THIRD-PARTY-LICENSES || fail "licences"
	[ -s /usr/share/doc/portguard/conflist/10-bridge.conflist ] && [ -s /usr/share/doc/portguard/monitoring/portguard.rules.yml ] || fail "examples"
}

# left is what is left of a package, but for what Debian's tools keep until a purge.
left() { # DIRECTORY that is not asked
	find / -xdev \( -path /packages -o -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /var/lib/dpkg -o -path /var/lib/rpm \
		-o -path /var/cache/man -o -path /var/lib/systemd/deb-systemd-helper-enabled -o -path /var/lib/systemd/deb-systemd-helper-masked \
		-o -path "$1" \) -prune -o -name '*portguard*' ! -path /etc/portguard-root -print
}

# A pod that got its hostPort before an upgrade has it after that, and loses it with its DEL.
# One that is there when the package is removed keeps it, and the words say what to do.
life() { # INSTALL REMOVE ZSH: commands, to which the name of a version or nothing is appended
	$1 0.0.1
	installed 0.0.1 "$3"
	cni ADD >/dev/null
	before=$(mapped)
	[ "$before" -gt 0 ] || fail "nothing is mapped"
	$1 0.0.2
	installed 0.0.2 "$3"
	is "$(mapped)" "$before" "mapped after the upgrade"
	portguard list | grep -q 8080/tcp || fail "list after the upgrade"
	cni DEL
	is "$(mapped)" 0 "mapped after DEL"
	cni ADD >/dev/null

	said=$($2 2>&1) || fail "$said"
	case $said in *"Running pods keep their hostPorts"*"/etc/cni/net.d"*) ;; *) fail "removing it said: $said" ;; esac
	is "$(mapped)" "$before" "mapped after the removal"
	is "$(left /etc/systemd)" "" "left behind"
	$1 0.0.2
	cni DEL
	is "$(mapped)" 0 "mapped after it was installed again, and DEL"
	$2 >/dev/null 2>&1
}

deb_install() { dpkg -i "portguard_$1-1_"*.deb >/dev/null && dpkg -V portguard; }
deb_remove() { dpkg -r portguard; }
# This root has no other rpm that could have what it needs.
rpm_install() { rpm -U --nodeps "portguard-$1-1."*.rpm && rpm -V --nodeps portguard; }
rpm_remove() { rpm -e --nodeps portguard; }

life deb_install deb_remove /usr/share/zsh/vendor-completions
deb_install 0.0.2
is "$(systemctl is-enabled portguard-restore.service)" enabled "the unit that heals"
is "$(systemctl is-enabled portguard-metrics.timer || true)" disabled "the timer"
systemctl disable portguard-restore.service 2>/dev/null
deb_install 0.0.2
is "$(systemctl is-enabled portguard-restore.service || true)" disabled "what the administrator said"
dpkg -P portguard >/dev/null 2>&1
is "$(left none)" "" "left behind by a purge"

is "$(rpm -qp --requires portguard-0.0.2-1.*.rpm | grep -v "^rpmlib(")" "" "what the .rpm needs"
life rpm_install rpm_remove /usr/share/zsh/site-functions
is "$(left none)" "" "left behind by rpm"
echo "packages: installed, upgraded and removed, .deb and .rpm"
