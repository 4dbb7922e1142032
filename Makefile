# SPDX-License-Identifier: Apache-2.0

GO ?= go
GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Programs that the tests and the demo start, and the Debian packages that have them.
COMMANDS = iptables-nft iptables-legacy nft ipset conntrack ip strace gcc git systemd-analyze sysctl python3
PACKAGES = iptables nftables ipset conntrack iproute2 strace gcc libc6-dev git systemd procps python3-minimal

# How long each fuzz target runs, how many random rule sets the kernel is asked about, how often a verb is killed.
FUZZTIME ?= 20s
SEEDS ?= 1000
TRIES ?= 500
# A limit is for what hangs. A slow machine must not run into it.
TIMEOUT ?= 3h
RUNS = $(if $(RUN),-run '$(RUN)')
INTEGRATION ?= ./integration/...
# The root that debian-test makes and uses.
SUITE ?= trixie
NEWCOMER ?= bookworm trixie

# Not from the environment, where packagers have those of the C linker: "make build PIE=1 LDFLAGS=".
LDFLAGS = -s -w
PIE =
# Tarballs and packages: for what, and where.
ARCHES ?= amd64 arm64 arm ppc64le riscv64 s390x
PACKAGE_ARCHES ?= amd64 arm64
DISTDIR ?= dist
IMAGE_ARCHES ?= amd64 arm64
# Where the container runtime looks for plugins: /usr/lib/cni on Debian, /usr/libexec/cni on Fedora.
BINDIR ?= /opt/cni/bin
# Where everything else goes.
PREFIX ?= /usr/local
# Where systemd looks for units.
UNITDIR ?= $(PREFIX)/lib/systemd/system
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions

# Users have no sbin on their PATH, and sudo has no Go.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin
# Programs that are built for one run start from here. /tmp may be mounted noexec.
export TMPDIR := $(shell sh scripts/tmpdir.sh)
ifeq ($(TMPDIR),)
$(error there is no folder for temporary files)
endif

.PHONY: build install dist packages release dist-check packages-test image image-check policies-test monitoring-test deps promtool demo test \
	unit integration integration-a-to-l integration-m-to-z integration-others check-all oracle faults podman daemons e2e bench fuzz \
	generate golden lint vuln debian-test newcomer support clean distclean help root go-version

# The plugin, static, in bin/. PIE=1 and LDFLAGS=... if you want it otherwise, VERSION if there is no git.
build: go-version
	@GO="$(GO)" VERSION="$(VERSION)" PIE="$(PIE)" LDFLAGS="$(LDFLAGS)" sh scripts/build.sh bin/portguard

# The plugin into BINDIR, its units, manual, completions and documents below PREFIX; all below DESTDIR.
# Enabling units and conflists are left to you.
install: build
	@GOOS= GOARCH= $(GO) build -o bin/.attribution ./scripts/attribution
	@GO="$(GO)" bin/.attribution -licenses bin/.licenses bin/portguard
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BINDIR="$(BINDIR)" UNITDIR="$(UNITDIR)" ZSHDIR="$(ZSHDIR)" \
	sh scripts/stage.sh bin/portguard bin/.licenses

DIST = GO="$(GO)" DISTDIR="$(DISTDIR)" VERSION="$(VERSION)" BINDIR="$(BINDIR)" PACKAGE_ARCHES="$(PACKAGE_ARCHES)" sh scripts/dist.sh

# A tarball and an SBOM for each of ARCHES, and SHA256SUMS, in dist/; VERSION is from git.
dist: go-version
	@ARCHES="$(ARCHES)" $(DIST) tarballs

# .deb and .rpm for each of PACKAGE_ARCHES, with the plugin in BINDIR, and SHA256SUMS, in dist/.
packages: go-version
	@ARCHES="$(PACKAGE_ARCHES)" $(DIST) packages

# Everything of a release, in dist/.
release: go-version
	@VERSION="$(VERSION)" sh scripts/release-check.sh
	rm -rf $(DISTDIR)
	@ARCHES="$(ARCHES)" $(DIST) tarballs packages >/dev/null
	@$(MAKE) --no-print-directory image
	@cd $(DISTDIR) && rm SHA256SUMS && sha256sum -- $$(find . -maxdepth 1 -type f ! -name .sums -printf '%P\n' | LC_ALL=C sort) >.sums && mv .sums SHA256SUMS && cat SHA256SUMS

# Builds tarballs and packages twice, in two places, and compares; builds from vendor/ without a network.
dist-check: go-version deps
	DIST_ARCHES="$(ARCHES)" $(GO) test -count=1 -timeout $(TIMEOUT) -v ./integration/dist

# The image of deploy/ in dist/, without docker: an OCI layout of all IMAGE_ARCHES, and a docker archive of each.
image: go-version
	@GO="$(GO)" DISTDIR="$(abspath $(DISTDIR))" VERSION="$(VERSION)" ARCHES="$(IMAGE_ARCHES)" sh scripts/image.sh

# Builds the image twice and compares, and builds the overlays of deploy/.
image-check: go-version
	cd deploy && $(GO) vet ./... && $(GO) test -count=1 -timeout $(TIMEOUT) ./...

# The templates of policies/gatekeeper, with gator. The first time it builds for minutes.
policies-test: go-version
	cd policies && $(GO) tool gator verify ./gatekeeper/...

# The dashboard against Grafana's schema.
monitoring-test: go-version
	cd monitoring && $(GO) vet ./... && $(GO) test -count=1 -timeout $(TIMEOUT) ./...

# Installs, upgrades and removes the packages in a root of Debian SUITE.
packages-test: root go-version
	@GO="$(GO)" BINDIR=/opt/cni/bin sh scripts/packages-test.sh $(SUITE)

# System packages that the demo and the tests use; nothing to do if all are there.
deps:
	@COMMANDS="$(COMMANDS)" PACKAGES="$(PACKAGES)" sh scripts/deps.sh

# promtool, for the tests of monitoring/, into bin/tools if there is none on PATH.
promtool:
	@sh scripts/promtool.sh

# The main job on a node made of network namespaces.
demo: root go-version deps
	$(GO) run ./integration/demo

# Everything but the linter and the slow suites: format, vet, staticcheck, packages, real nodes.
# Most of the time the tests of ./integration wait for something. So its two halves run beside each
# other, and all other packages, two at a time, beside them: one of these builds for minutes.
test: root go-version deps
	@fmt="$$("$$($(GO) env GOROOT)/bin/gofmt" -l .)" && test -z "$$fmt" || { echo "not gofmt-ed: $$fmt" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(MAKE) --no-print-directory -j4 unit integration-a-to-l integration-m-to-z integration-others

# The packages, with the race detector. RUN names tests, as go test -run does.
unit: go-version deps
	CGO_ENABLED=1 $(GO) test -race -timeout $(TIMEOUT) $(RUNS) ./pkg/... ./plugins/...

# The real plugin on nodes made of network namespaces.
integration: root go-version deps promtool
	$(GO) test -count=1 -timeout $(TIMEOUT) $(RUNS) $(INTEGRATION)
integration-a-to-l: root go-version deps
	$(GO) test -count=1 -timeout $(TIMEOUT) $(RUNS) -skip '^Test[M-Z]' ./integration
integration-m-to-z: root go-version deps
	$(GO) test -count=1 -timeout $(TIMEOUT) $(RUNS) -skip '^Test[A-L]' ./integration
integration-others: root go-version deps promtool
	$(GO) test -count=1 -timeout $(TIMEOUT) $(RUNS) -p 2 $$($(GO) list ./integration/... | grep /integration/)

# Everything but e2e, newcomer and support: test, lint, each fuzz target for a short time, and the slow suites.
check-all: root
	$(MAKE) --no-print-directory test
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory image-check
	$(MAKE) --no-print-directory policies-test
	$(MAKE) --no-print-directory monitoring-test
	$(MAKE) --no-print-directory fuzz
	$(MAKE) --no-print-directory faults
	$(MAKE) --no-print-directory podman
	$(MAKE) --no-print-directory daemons
	$(MAKE) --no-print-directory dist-check
	$(MAKE) --no-print-directory packages-test
	$(MAKE) --no-print-directory oracle

# SEEDS random rule sets against the kernel.
oracle: root go-version deps
	SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 24h -v -run TestOracle ./integration/oracle

# The real podman, where it has a CNI backend (Debian 12). "make test" runs this too if podman is installed.
podman: root go-version deps
	@COMMANDS="podman crun" PACKAGES="podman crun" sh scripts/deps.sh
	PODMAN=1 $(GO) test -count=1 -timeout $(TIMEOUT) -v ./integration/podman

# The real firewalld and docker of Debian SUITE, in a root of its own: on a machine apt would start them.
daemons: root
	@PACKAGES="$(PACKAGES)" GO="$(GO)" sh scripts/debian-test.sh "$(SUITE)" integration INTEGRATION=./integration RUN='TestRealFirewalld|TestRealDocker' FIREWALLD=1 DOCKER=1 \
		COMMANDS="firewalld dockerd docker" PACKAGES="firewalld docker.io $(if $(filter bookworm,$(SUITE)),,docker-cli)"

# kill -9 at random moments, TRIES times for each verb and backend; an ADD and a bind that start together, twice as often.
faults: root go-version deps
	TRIES=$(TRIES) $(GO) test -count=1 -timeout 24h -v -run 'TestKill|TestRace' ./integration/faults

# Real Kubernetes on one node, in all modes of kube-proxy and with both containerds, or in MODE with CONTAINERD=1 or 2.
# The first time it builds for minutes. RUN names stories.
e2e: root go-version deps
	@COMMANDS="containerd runc etcd curl dpkg-deb setpriv unshare" PACKAGES="containerd runc etcd-server curl dpkg util-linux" sh scripts/deps.sh
	@GO="$(GO)" MODE="$(MODE)" CONTAINERD="$(CONTAINERD)" RUN="$(RUN)" integration/kubernetes/e2e.sh

# Everything that costs, side by side with portmap and with a plugin that does nothing.
# Flags go into BENCH: -quick only tries it, -only runs single scenarios, -docs docs/benchmarks.md writes the results there.
bench: root go-version deps
	$(GO) run ./integration/bench $(BENCH)

# Each fuzz target for FUZZTIME.
fuzz: root go-version deps
	@set -e; packages=$$($(GO) list ./pkg/...); for p in $$packages; do \
	targets=$$($(GO) test -list '^Fuzz' $$p); for f in $$(echo "$$targets" | grep '^Fuzz'); do \
	echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -timeout $(TIMEOUT) $$p; done; done

# Rewrites the golden files, the manual page and the completions from what the code does now.
# Package plugin is last, because it looks for every message in the others' files.
golden: go-version
	$(GO) test -timeout $(TIMEOUT) $$(grep -rl --include='*_test.go' 'flag.Bool("update"' ./pkg | xargs dirname | sort -u | \
	grep -v '^./pkg/plugin$$') -update
	$(GO) test -timeout $(TIMEOUT) ./pkg/plugin -update

# The BPF programs that refuse binds, from C into Go: with clang 16.0.6, which Debian 12 has as clang-16.
generate: go-version
	$(GO) generate ./pkg/backend/reservation/program

# golangci-lint, as in .golangci.yml. The first time it builds for minutes.
lint: go-version
	$(GO) run $(GOLANGCI) run ./...

# Known vulnerabilities in what the code calls. It asks vuln.go.dev.
vuln: go-version
	$(GO) run $(GOVULNCHECK) ./...

# "make test" in a root of another Debian: SUITE=bookworm, trixie or sid, TARGET=unit for another target.
debian-test: root
	@PACKAGES="$(PACKAGES)" GO="$(GO)" sh scripts/debian-test.sh "$(SUITE)" $(TARGET)

# What README.md says, on bare Debian 12 and 13: how long it takes there. It is run before a release.
newcomer: root go-version
	for suite in $(NEWCOMER); do GO="$(GO)" sh scripts/newcomer.sh $$suite || exit 1; done

# docs/support.md against the tools of Debian 12, 13 and sid.
support: root
	for suite in bookworm trixie sid; do \
	$(MAKE) --no-print-directory debian-test SUITE=$$suite TARGET="integration RUN=TestSupported" || exit 1; done

# Removes bin/ and dist/.
clean:
	rm -rf bin dist

# clean, and what e2e built.
distclean: clean
	rm -rf integration/kubernetes/.cache

root:
	@test "$$(id -u)" = 0 || { echo "\"make $(MAKECMDGOALS)\" needs root: it makes network namespaces; try sudo" >&2; exit 1; }

go-version:
	@GO="$(GO)" sh scripts/go-version.sh

# This list.
help:
	@awk '/^$$/ { text = "" } /^# / && !text { text = substr($$0, 3) } \
	/^[a-z0-9-]+:/ && text { printf "%-13s %s\n", substr($$1, 1, length($$1) - 1), text; text = "" }' Makefile
