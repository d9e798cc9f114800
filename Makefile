# Everything here needs only Go (and gcc, for the race detector), but for
# compose-test, which needs Docker.

GO               ?= go
GOLANGCI_VERSION := v2.15.0
GOLANGCI         := .tools/golangci-lint-$(GOLANGCI_VERSION)-$(shell $(GO) env GOVERSION)
NATS             := .tools/nats
TEST_TIMEOUT     ?= 15m
FUZZ_TIME        ?= 30s
MINUTES          ?= 20
# What make unit leaves out: tests that take long, or wait for servers.
UNIT_SLOW        := pkg/(feed|lease|natsd|natstest|pattern|service)|internal/(reader|limit/simulate|parked|preview)
SWEEPS           ?= subscriptions events size scale stores

SERVICES := registry emitter healthmon replayer standalone

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build every service into bin/
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ $(SERVICES:%=./services/%)

.PHONY: run
run: ## Run a nats-server and all services in one process
	@SLUICE_LOG_FORMAT=$${SLUICE_LOG_FORMAT:-console} $(GO) run ./services/standalone

.PHONY: test
test: race-needs $(NATS) ## Run all tests, with the race detector
	$(GO) test -race -timeout $(TEST_TIMEOUT) ./...

.PHONY: unit
unit: race-needs ## Run the fast tests while you work, with the race detector
	$(GO) test -race -short -timeout 2m $$($(GO) list ./pkg/... ./services/internal/... ./services/.../internal/... ./integration/layout ./integration/evaluator | grep -vE '/($(UNIT_SLOW))$$')

.PHONY: lint
lint: $(GOLANGCI) ## Check style and formatting
	$(GOLANGCI) run ./...

.PHONY: bench
bench: ## Measure side by side with native consumers; BENCH="-short -run NAME" picks
	$(GO) run ./integration/bench $(BENCH)

.PHONY: sweeps
sweeps: ## Measure how cost grows, into docs/performance/; takes about 30 minutes
	@mkdir -p docs/performance
	for sweep in $(SWEEPS); do \
		$(GO) run ./integration/bench -sweep $$sweep -rounds 3 > docs/performance/$$sweep.jsonl || exit 1; \
	done

.PHONY: soak
soak: ## Use Sluice for MINUTES=20, killing emitters, and judge what is lost and what grows
	$(GO) run ./integration/soak -time $(MINUTES)m $(SOAK)

.PHONY: plots
plots: ## Draw the plots of docs/performance.md from what was measured
	$(GO) build -C tools/plot -o $(CURDIR)/.tools/plot .
	cd docs/performance && plot=$(CURDIR)/.tools/plot && \
	$$plot -x x -y value -by line -logx -logy -xlabel subscriptions -ylabel 'events published a second' -o subscriptions.svg < subscriptions.jsonl && \
	$$plot -x x -y value -by line -logx -xlabel 'events in store' -ylabel 'events a second' -o events.svg < events.jsonl && \
	$$plot -x x -y value -by line -logx -xlabel 'bytes of an event' -ylabel 'events a second' -o size.svg < size.jsonl && \
	for of in scale stores; do \
		grep "$${of}_memory" $$of.jsonl | $$plot -x x -y value -by line -logx -logy -xlabel $$(test $$of = scale && echo subscriptions || echo stores) -ylabel 'resident MB' -o $$of-memory.svg && \
		grep "$${of}_cpu" $$of.jsonl | $$plot -x x -y value -by line -logx -xlabel $$(test $$of = scale && echo subscriptions || echo stores) -ylabel 'percent of a core at rest' -o $$of-cpu.svg && \
		grep "$${of}_seconds" $$of.jsonl | $$plot -x x -y value -by line -logx -logy -xlabel $$(test $$of = scale && echo subscriptions || echo stores) -ylabel seconds -o $$of-seconds.svg || exit 1; \
	done
	POINTS=$(CURDIR)/.tools/limit.jsonl $(GO) test -count=1 -run Plotted ./services/internal/limit/simulate
	.tools/plot -x seconds -y limit -by scenario -xlabel seconds -ylabel 'deliveries in flight, at most' -o docs/performance/limit.svg < .tools/limit.jsonl

.PHONY: compose-test
compose-test: ## Start compose, deliver, kill an emitter, deliver on (needs Docker)
	bash deploy/compose/test.sh

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZ_TIME (30s)
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' pkg services integration | sort | while read -r file; do \
		for fuzz in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "$$file: $$fuzz"; \
			$(GO) test -run '^$$' -fuzz "^$$fuzz\$$" -fuzztime $(FUZZ_TIME) "./$$(dirname "$$file")"; \
		done; \
	done

.PHONY: clean
clean: ## Remove what was built; data/ stays
	rm -rf bin .tools

# The race detector needs cgo and a C compiler.
.PHONY: race-needs
race-needs:
	@cc=$$($(GO) env CC); command -v $${cc%% *} >/dev/null || { \
		echo "make: the race detector needs a C compiler, and '$$cc' is not here." >&2; \
		echo "make: install gcc (or clang, and set CC), then try again." >&2; exit 1; }
	@test "$$($(GO) env CGO_ENABLED)" = 1 || { \
		echo "make: the race detector needs cgo: unset CGO_ENABLED." >&2; exit 1; }

# The tools are pinned, and built once. The module proxy's checksums are
# verified against the checksum database, or against the go.sum beside.
$(GOLANGCI):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools/new $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv .tools/new/golangci-lint $@ && rmdir .tools/new

# Tests that use the nats CLI build it themselves; this is to have that in the
# build cache before the test's time runs.
$(NATS): tools/natscli/go.mod tools/natscli/go.sum
	@mkdir -p .tools
	$(GO) build -C tools/natscli -o $(CURDIR)/$@ github.com/nats-io/natscli/nats
