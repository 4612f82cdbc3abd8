# Petrel's commands. Each target stands alone on a fresh machine that has Go and make: it installs what it needs
# (Debian packages when run as root; Go tools are pinned in go.mod) and says by name what it has to leave out.
SHELL := /bin/bash
.DEFAULT_GOAL := build

export GOFLAGS ?= -buildvcs=false
export CGO_ENABLED ?= 0

BIN     := $(CURDIR)/bin
PREFIX  ?= /usr/local
DATA    ?= $(CURDIR)/.petrel
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BENCH   ?= .

# Without symbol tables linking takes half as long; make vet looks at what the tests are.
TEST    := -vet=off -ldflags='-s -w'

# Rooms whose tests run under the race detector: every room of our own with goroutines. The rooms around
# k8s.io/kubernetes would compile it a second time for that, and have their concurrency in the store.
RACE    := ./controlplane/store/... ./controlplane/scheduler/... ./controlplane/controller/... \
           ./controlplane/registry/... ./controlplane/apps/... ./worker/... ./wasmrt/...

.PHONY: build run test unit race runtime e2e check format vet lint tidy generate bench examples deps test-deps install clean

build: ## bin/petrel and bin/petrel-wasmrt
	@mkdir -p $(BIN)
	go build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

examples: ## examples/bin/*.wasm
	@$(MAKE) --no-print-directory -C examples

run: deps build examples ## a cluster of one node with the examples deployed, until Ctrl-C
	@DATA=$(DATA) ./examples/run.sh

test: test-deps build examples unit race runtime e2e ## every test

unit: $(BIN)/tools/gotestsum
	./test/run.sh "$$(go list ./... | grep -v -e /test/e2e -e wasmrt -e /worker -e controlplane/store \
		-e controlplane/scheduler -e controlplane/controller -e controlplane/registry -e controlplane/apps)" $(TEST) -timeout 5m

race: $(BIN)/tools/gotestsum
	CGO_ENABLED=1 ./test/run.sh "$(RACE)" $(TEST) -race -timeout 15m
	CGO_ENABLED=1 go test -ldflags=-linkmode=external ./procmem # as a program that the dynamic linker has written to

runtime: $(BIN)/tools/gotestsum ## petrel-wasmrt as a program: by itself, under containerd with our shim, under a real kubelet, and SIGKILL
	./test/kubelet/build.sh $(BIN)/tools
	./test/run.sh ./cmd/petrel-wasmrt $(TEST) -timeout 10m

e2e: $(BIN)/tools/gotestsum
	./test/run.sh ./test/e2e/... $(TEST) -timeout 15m -count=1

$(BIN)/tools/gotestsum: go.mod
	go build -o $@ gotest.tools/gotestsum

check: format vet lint tidy generate ## must leave git clean
	@git diff --exit-code --stat || { echo 'make check: the files above changed: commit them' >&2; exit 1; }

format:
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt -w these files:" $$out >&2; exit 1; }

vet:
	go vet ./...

lint:
	go tool staticcheck ./...

tidy:
	go mod tidy -diff

generate: ## everything generated, made again
	go generate ./...

bench: test-deps build examples ## the benchmark table; BENCH=regexp measures the rows that match; a full run writes docs/benchmarks.md
	@./test/deps.sh wrk iproute2 nftables iptables haproxy nginx-light # what is compared with
	go build -o $(BIN)/tools/bench ./bench
	$(BIN)/tools/bench $(if $(filter .,$(BENCH)),-write,-run '$(BENCH)')

deps: ## Debian packages that the examples need; only root can install them
	@./examples/deps.sh

test-deps: deps ## and those that the tests need
	@./test/deps.sh

install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(BIN)/petrel $(BIN)/petrel-wasmrt $(DESTDIR)$(PREFIX)/bin/

clean:
	rm -rf $(BIN) examples/bin
	go clean -testcache
