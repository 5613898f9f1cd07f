# `make` or `make help` lists what can be made. `test`, `demo`, `bench` and `soak` want root.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := bin/tools/golangci-lint-$(GOLANGCI_VERSION)

# Packages under test at the same time. Several of them start a Docker engine and measure pauses, so by default one.
P         ?= 1
TESTFLAGS ?=
FUZZTIME  ?= 10s
SETS      ?= 50
STORAGE   ?= btrfs

PREFIX  ?= /usr
UNITDIR ?= /etc/systemd/system
UDEVDIR ?= /etc/udev/rules.d

# What a test may skip at home, it has to run in CI.
ifeq ($(CI),true)
export VOLSNAP_TEST_REQUIRE ?= docker,btrfs
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Using it

.PHONY: build
build: ## build bin/volsnap, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/volsnap ./cmd/volsnap

.PHONY: demo
demo: demo-$(STORAGE) ## run the main job on real input: Docker, PostgreSQL under load (STORAGE=btrfs|zfs|lvm)

.PHONY: demo-btrfs
demo-btrfs: deps build
	$(GO) run ./scripts/demo

# What this kernel may lack is had from a virtual machine.
.PHONY: demo-zfs demo-lvm
demo-zfs demo-lvm: demo-%: vm-deps
	scripts/vm-tests/start demo $*

.PHONY: install
install: build ## install the binary, the systemd units and the udev rule (DESTDIR, PREFIX, UNITDIR, UDEVDIR)
	install -D -m 755 bin/volsnap $(DESTDIR)$(PREFIX)/bin/volsnap
	install -d $(DESTDIR)$(UNITDIR)
	install -m 644 packaging/systemd/*.service packaging/systemd/*.timer $(DESTDIR)$(UNITDIR)
	install -d $(DESTDIR)$(UDEVDIR)
	install -m 644 packaging/udev/09-volsnap.rules $(DESTDIR)$(UDEVDIR)

##@ Working on it

.PHONY: test
test: deps ## run all tests, on real Btrfs and a real Docker engine (P=2: two packages at a time)
	$(GO) vet ./...
	$(GO) vet -tags vmtest,powercut ./...
	$(GO) build -race ./...
	$(GO) test -race -p $(P) -timeout 30m $(TESTFLAGS) ./...
	$(GO) test -race -tags faultpoints -run KilledAtEachPoint -timeout 15m $(TESTFLAGS) ./driver/btrfs

.PHONY: vm-test
vm-test: vm-deps ## run the tests that need ZFS or LVM in a virtual machine (PACKAGES=./driver/zfs)
	scripts/vm-tests/vm build
	scripts/vm-tests/run $(PACKAGES)

.PHONY: lint
lint: $(GOLANGCI) ## go vet, staticcheck, gofumpt and the import rules (.golangci.yml)
	$(GO) vet ./...
	$(GOLANGCI) run ./...
	$(GOLANGCI) run --build-tags vmtest,powercut ./...

.PHONY: fmt
fmt: $(GOLANGCI) ## format the code as lint wants it
	$(GOLANGCI) fmt ./...

.PHONY: fuzz
fuzz: ## run each fuzz target for a short time (FUZZTIME=10s)
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file func; do \
		name=$${func#func }; dir=$$(dirname "$$file"); echo "fuzz: $$dir $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; \
	done

.PHONY: soak
soak: deps ## take many sets under load and prove each one (SETS=50)
	VOLSNAP_SETS=$(SETS) VOLSNAP_TEST_REQUIRE=docker,btrfs $(GO) test -count=1 -v -timeout 60m ./internal/fixture -run TestSetsUnderLoad

.PHONY: bench
bench: bench-$(STORAGE) ## measure against other tools; the tables are docs/benchmarks.md (STORAGE=btrfs|zfs|lvm)

.PHONY: bench-btrfs
bench-btrfs: deps build
	$(GO) run ./scripts/bench

.PHONY: bench-zfs bench-lvm
bench-zfs bench-lvm: bench-%: vm-deps
	scripts/vm-tests/start bench $*

.PHONY: deps
deps: ## install the packages that tests and demo need; quick when they are there
	@scripts/install-deps

.PHONY: vm-deps
vm-deps: ## install what the virtual machines need
	@scripts/install-deps --vm

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist

.PHONY: help
help: ## list these
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# golangci-lint brings staticcheck v0.8.2 and gofumpt v0.12.0. One of this version that is installed already is taken.
$(GOLANGCI):
	@mkdir -p $(@D)
	@for found in "$$(command -v golangci-lint)" "$$($(GO) env GOPATH)/bin/golangci-lint"; do \
		if [ -x "$$found" ] && [ "v$$("$$found" version --short)" = $(GOLANGCI_VERSION) ]; then \
			cp "$$found" $@ && exit 0; fi; done; \
	echo "building golangci-lint $(GOLANGCI_VERSION), once"; \
	GOBIN=$(abspath $(@D)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION) && \
	mv $(@D)/golangci-lint $@
