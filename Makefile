# SPDX-License-Identifier: Apache-2.0

GO ?= go
GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
PACKAGES = iptables nftables ipset conntrack iproute2 strace gcc libc6-dev
FUZZTIME ?= 20s

SEEDS ?= 1000

.PHONY: build deps demo test unit integration oracle faults bench fuzz golden lint clean

# The plugin, static, in bin/.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/portguard ./plugins/meta/portguard

# System packages that the demo and the tests use; nothing to do if all are there.
deps:
	@for c in iptables-nft iptables-legacy nft ipset conntrack ip strace gcc; do command -v $$c >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(PACKAGES); fi

# The main job on a node made of network namespaces.
demo: deps
	$(GO) run ./integration/demo

# Everything.
test: deps
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(MAKE) --no-print-directory unit integration

unit:
	CGO_ENABLED=1 $(GO) test -race ./pkg/... ./plugins/...

integration:
	$(GO) test -count=1 -timeout 8m ./integration/...

# SEEDS random rule sets against the kernel.
oracle: deps
	SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 12h -v -run TestOracle ./integration/oracle

# kill -9 at random moments, TRIES times for each verb and backend.
TRIES ?= 500
faults: deps
	TRIES=$(TRIES) $(GO) test -count=1 -timeout 2h -v -run TestKill ./integration/faults

# ADD and DEL side by side with portmap and with a plugin that does nothing.
bench: deps
	$(GO) run ./integration/bench

# Each fuzz target for FUZZTIME.
fuzz:
	@for p in $$($(GO) list ./pkg/...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

# Rewrites the golden files from what the code does now.
golden:
	$(GO) test ./pkg/ruleset ./pkg/nfttable -update

lint:
	$(GO) run $(GOLANGCI) run ./...

clean:
	rm -rf bin dist
