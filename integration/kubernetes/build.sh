#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# build.sh makes what a node is made of, in .cache: the programs of Kubernetes and their
# conformance test, containerd 2, the plugins, portguard, the stories, and the images of
# pods and of deploy/. Cold it takes minutes and 4 GB of Go's own cache; warm, seconds.
set -eu
cd "$(dirname "$0")"
here=$PWD
cache=$here/.cache
bin=$cache/bin
go=${GO:-go}
version=$("$go" list -m -f '{{.Version}}' k8s.io/kubernetes)
export CGO_ENABLED=0
mkdir -p "$bin/plugins" "$cache/containerd" "$cache/images" "$cache/debs"

build() { "$go" build -ldflags "-s -w ${flags:-}" "$@"; }

# Three modules, beside each other: warm, each mostly reads what there is.
(
	minor=${version#v1.}
	flags="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1"
	flags="$flags -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
	build -o "$bin/" ./kube k8s.io/kubernetes/test/images/agnhost ./server ./cmd/node ./cmd/cni
	for c in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
		ln -sf kube "$bin/$c"
	done
	"$go" test -c -ldflags "-s -w" -o "$bin/" ./conformance ./stories
	# To vet the other two packages, all of Kubernetes would be read.
	"$go" vet ./node ./stories ./server ./cmd/...
) &
kubernetes=$!
(
	cd containerd
	containerd=github.com/containerd/containerd/v2/cmd
	build -tags no_btrfs,no_zfs,no_devmapper,no_aufs -o "$cache/containerd/" \
		"$containerd/containerd" "$containerd/containerd-shim-runc-v2" "$containerd/ctr"
) &
containerd=$!
(
	cd ../..
	plugins=github.com/containernetworking/plugins/plugins
	build -o "$bin/plugins/" ./plugins/meta/portguard "$plugins/main/bridge" "$plugins/main/loopback" \
		"$plugins/ipam/host-local" "$plugins/meta/portmap"
	# The image of deploy/, as it is shipped.
	GO=$go VERSION=latest ARCHES=$("$go" env GOARCH) DISTDIR=$cache/images sh scripts/image.sh >/dev/null
) &
ours=$!
for part in $kubernetes $containerd $ours; do wait "$part"; done

# image NAME FOLDER ENTRYPOINT [ARGUMENT]: a docker archive of one layer.
image() {
	out=$cache/images/$(basename "${1%:*}").tar
	tmp=$(mktemp -d)
	tar --owner=0 --group=0 --sort=name --mtime=@0 -C "$2" -cf "$tmp/layer.tar" .
	layer=$(sha256sum "$tmp/layer.tar" | cut -d' ' -f1)
	printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["%s"],"Cmd":[%s],"WorkingDir":"/","Env":["PATH=/:/bin:/usr/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$("$go" env GOARCH)" "$3" "${4:+\"$4\"}" "$layer" >"$tmp/config.json"
	printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$1" >"$tmp/manifest.json"
	tar -C "$tmp" -cf "$out.new" config.json layer.tar manifest.json
	mv "$out.new" "$out"
	rm -rf "$tmp"
}

root=$cache/root
rm -rf "$root"
mkdir -p "$root/tmp" "$root/etc" "$root/proc" "$root/sys" "$root/dev"
cp "$bin/server" "$root/"
image local.test/server:1 "$root" /server

# The conformance test wants a shell, curl and a netcat with -u: dash and the one of
# OpenBSD, since busybox prefers a netcat of its own that has none.
[ -e "$cache/debs/bin/nc.openbsd" ] || (
	cd "$cache/debs"
	apt-get -q download netcat-openbsd libbsd0 libmd0
	for d in *.deb; do dpkg -x "$d" .; rm "$d"; done
)
rm "$root/server"
mkdir -p "$root/bin" "$root/usr/bin"
cp "$bin/agnhost" "$root/"
cp /bin/dash "$root/bin/sh"
cp "$(command -v curl)" "$root/usr/bin/curl"
cp "$cache/debs/bin/nc.openbsd" "$root/bin/nc"
libs=$(echo "$cache"/debs/usr/lib/*-linux-*)
LD_LIBRARY_PATH=$libs ldd "$root/bin/sh" "$root/bin/nc" "$root/usr/bin/curl" | grep -oE '/[^ :]+\.so[^ :]*' | sort -u |
	while read -r lib; do
		to=$root${lib#"$cache/debs"}
		mkdir -p "$(dirname "$to")"
		cp -L "$lib" "$to"
	done
tag=$(sed -n 's/.*configs\[Agnhost\] .*"agnhost", "\(.*\)".*/\1/p' "$("$go" list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/utils/image/manifest.go")
image "registry.k8s.io/e2e-test-images/agnhost:$tag" "$root" /agnhost pause
rm -rf "$root"
