# SPDX-License-Identifier: Apache-2.0

GO ?= go
GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
PACKAGES = iptables nftables ipset conntrack iproute2 strace gcc libc6-dev git systemd
FUZZTIME ?= 20s

SEEDS ?= 1000

# Tarballs: for what, and where.
ARCHES ?= amd64 arm64 arm ppc64le riscv64 s390x
DISTDIR ?= dist
# Where the container runtime looks for plugins.
BINDIR ?= /opt/cni/bin

.PHONY: build install dist dist-check deps promtool demo test unit integration oracle faults bench fuzz golden lint clean help

# The plugin, static, in bin/.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/portguard ./plugins/meta/portguard

bin/portguard:
	$(MAKE) --no-print-directory build

# bin/portguard into DESTDIR and BINDIR; conflists are left to you.
# A runtime may start the plugin at any moment: the new one is renamed over the old.
install: bin/portguard
	install -d $(DESTDIR)$(BINDIR)
	install -m 755 bin/portguard $(DESTDIR)$(BINDIR)/.portguard.new
	mv -f $(DESTDIR)$(BINDIR)/.portguard.new $(DESTDIR)$(BINDIR)/portguard

# A tarball for each of ARCHES, and SHA256SUMS, in dist/; VERSION is from git.
dist:
	@GO="$(GO)" ARCHES="$(ARCHES)" DISTDIR="$(DISTDIR)" VERSION="$(VERSION)" scripts/dist.sh

# Builds the tarballs twice, in two places, and compares.
dist-check: deps
	DIST_ARCHES="$(ARCHES)" $(GO) test -count=1 -timeout 1h -v ./integration/dist

# System packages that the demo and the tests use; nothing to do if all are there.
deps:
	@for c in iptables-nft iptables-legacy nft ipset conntrack ip strace gcc git systemd-analyze; do command -v $$c >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(PACKAGES); fi

# promtool, for the tests of monitoring/, into bin/tools if there is none on PATH.
promtool:
	@scripts/promtool.sh

# The main job on a node made of network namespaces.
demo: deps
	$(GO) run ./integration/demo

# Everything.
test: deps
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(MAKE) --no-print-directory unit integration

# The packages, with the race detector.
unit:
	CGO_ENABLED=1 $(GO) test -race ./pkg/... ./plugins/...

# The real plugin on nodes made of network namespaces.
integration: promtool
	$(GO) test -count=1 -timeout 8m ./integration/...

# SEEDS random rule sets against the kernel.
oracle: deps
	SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 12h -v -run TestOracle ./integration/oracle

# kill -9 at random moments, TRIES times for each verb and backend.
TRIES ?= 500
faults: deps
	TRIES=$(TRIES) $(GO) test -count=1 -timeout 2h -v -run TestKill ./integration/faults

# Everything that costs, side by side with portmap and with a plugin that does nothing. Flags go into BENCH: -quick
# only tries it, -only runs single scenarios, -docs docs/benchmarks.md writes the results there.
bench: deps
	$(GO) run ./integration/bench $(BENCH)

# Each fuzz target for FUZZTIME.
fuzz:
	@for p in $$($(GO) list ./pkg/...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

# Rewrites the golden files from what the code does now.
golden:
	$(GO) test ./pkg/conflict ./pkg/listener ./pkg/nft ./pkg/nfttable ./pkg/ruleset -update
	$(GO) test ./pkg/plugin -update

# golangci-lint, as in .golangci.yml.
lint:
	$(GO) run $(GOLANGCI) run ./...

# Removes bin/ and dist/.
clean:
	rm -rf bin dist

# This list.
help:
	@awk '/^$$/ { text = "" } /^# / && !text { text = substr($$0, 3) } \
	/^[a-z-]+:/ && text { printf "%-12s %s\n", substr($$1, 1, length($$1) - 1), text; text = "" }' Makefile
