# understudy: `make demo` shows what it does, `make test` proves it.
# Everything here runs on a machine that has only Go; `make deps` brings, from
# Debian's packages, what the rest of the tests and the peers need.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BIN     := bin/understudy
LDFLAGS := -s -w -X github.com/understudy-proxy/understudy/internal/app.Version=$(VERSION)
TOOL    := $(GO) tool -modfile=tools/go.mod
FUZZTIME ?= 10s

.PHONY: help demo build test check bench perf gate-ci soak perf-peers links lint fmt fuzz deps clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: build ## record, replay, chaos and verdict on built-in samples
	@$(BIN) demo

build: ## build the static binary bin/understudy
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/understudy

# The race detector needs a C compiler; where there is none the suite runs without it and says so.
test: ## run the test suite; says loudly what it skipped
	@sh tools/test.sh

check: lint test ## what CI runs

bench: ## microbenchmarks; compare two runs with benchstat
	$(GO) test -run '^$$' -bench . -benchmem ./...

perf: build ## measure the proxy's own overhead against the budget of gate.yaml
	$(BIN) gate --budget gate.yaml; all=$$?; \
	$(BIN) gate --budget gate.yaml --scenario captured --connections 1,64 && exit $$all

gate-ci: build ## compare with a build of an earlier commit, as CI does: 4 minutes at most
	@GO='$(GO)' sh tools/gate-ci.sh $(BIN)

SOAK ?= 1h
soak: build ## load for SOAK (1h) at half load with faults: does anything grow?
	$(BIN) gate --soak $(SOAK) --json-file bin/soak.json

# The peers that are no Debian packages live outside the tree. What is missing
# is left out, and said, with what installs it. PEERS_FLAGS=-quick takes minutes.
PEERS       ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/understudy-peers
PEERS_FLAGS ?= -doc docs/performance.md
perf-peers: build ## measure understudy beside other proxies and stubs
	@mkdir -p $(PEERS)
	$(GO) build -C tools/peers -trimpath -o $(PEERS)/peers .
	-$(GO) build -C tools/peers -trimpath -o $(PEERS)/toxiproxy github.com/Shopify/toxiproxy/v2/cmd/server
	$(PEERS)/peers -understudy $(BIN) -cache $(PEERS) $(PEERS_FLAGS)

LINKS_FLAGS ?=
links: build ## what TCP makes of each profile of a link, beside theory: 7 minutes, needs iperf3 (make deps)
	$(GO) build -C tools/links -trimpath -o $(CURDIR)/bin/links .
	bin/links -understudy $(BIN) $(LINKS_FLAGS)

lint: ## vet, format and import arrows
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(TOOL) golangci-lint run ./...

fmt: ## format the sources
	gofmt -w $$(git ls-files '*.go')

fuzz: ## run each fuzz target for FUZZTIME
	@sh tools/fuzz.sh $(FUZZTIME)

deps: ## install from Debian's packages what the whole suite uses (needs root)
	sh tools/deps.sh

clean: ## remove what was built
	rm -rf bin
