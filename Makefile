# Rolecall. `make` alone lists what there is. Each target installs what it needs; Rust (rustup) and Go have to be there.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
HELM = $$(tests/cluster/build.sh)/helm
SCRIPTS = $(shell git ls-files '*.sh') .ci/run

# Many tests wait for a real cluster's clock, not for a processor.
export RUST_TEST_THREADS ?= 4

# The newest Kubernetes that is built, or 1.33.
export K8S ?=

# How long each fuzz target runs.
SECONDS ?= 60

# How many fault cases `make soak` runs, and the seed of the first; a failed case says its own.
CASES ?= 300
SEED ?=

.PHONY: help build lint test soak fuzz demo bench bench-scale image manifests e2e cluster docs crds audit

help: ## What there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## The server `rolecall` and the plugin `kubectl-rolecall`, optimised, in target/release
	$(CARGO) build --release --locked --bins

lint: ## Format, clippy, licences and sources of dependencies, shell scripts, the chart
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny (once; some minutes)"; $(CARGO) install --locked --quiet cargo-deny; }
	cargo deny --locked --log-level error check bans licenses sources
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "shellcheck is not installed: scripts are not checked"; fi
	@promtool=$$(tests/monitoring/build.sh)/promtool; $$promtool check rules charts/rolecall/files/rules.yaml >/dev/null; $$promtool test rules tests/monitoring/rules_test.yaml >/dev/null
	@$(HELM) lint --strict --quiet charts/rolecall 2> >(grep -v 'symbolic link' >&2)

test: ## All tests, on a real control plane (built once, about 7 minutes on two cores)
	@tests/cluster/build.sh >/dev/null
	@tests/clients/build.sh >/dev/null
	@tests/argocd/build.sh >/dev/null
	$(CARGO) test --locked

soak: ## Generated fault cases, hundreds of them (CASES=300; SEED= and CASES=1 run one alone): some 12 minutes. K8S=1.33: every test on the oldest supported Kubernetes
	@tests/cluster/build.sh >/dev/null
	@tests/clients/build.sh >/dev/null
	@tests/argocd/build.sh >/dev/null
ifeq ($(K8S),)
	ROLECALL_FAULT_CASES=$(CASES) ROLECALL_FAULT_SEED=$(SEED) $(CARGO) test --locked --test it -- --exact --nocapture faults::every_case_converges_breaks_nothing_and_rests
	ROLECALL_POLL_ROUNDS=20 $(CARGO) test --locked --bins --test it -- --exact --nocapture poll::a_poller_that_wakes_late_brings_nobody_back
else
	$(CARGO) test --locked --bins --test it
endif

fuzz: ## Bytes that a client may send, each target for SECONDS=60, from fuzz/seeds; a crash is in target/fuzz/artifacts
	@command -v cargo-fuzz >/dev/null || { echo "installing cargo-fuzz (once; some minutes)"; $(CARGO) install --locked --quiet cargo-fuzz; }
	$(CARGO) fuzz build -s none --target-dir target/fuzz/build
	@for target in $$($(CARGO) fuzz list); do \
		mkdir -p target/fuzz/{corpus,artifacts}/$$target; \
		echo "fuzzing $$target"; \
		$(CARGO) fuzz run -s none --target-dir target/fuzz/build $$target target/fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(SECONDS) -timeout=10 -verbosity=0 -print_funcs=0 -print_final_stats=1 -artifact_prefix=$(CURDIR)/target/fuzz/artifacts/$$target/; \
	done

demo: ## Watch a directory decide what a real kube-apiserver allows (CONTEXT=name: on your cluster; KEEP=1: stay up)
	$(CARGO) build --locked --bins --example demo
	@$(CARGO) run --locked --quiet --example demo

bench: ## Figures, each beside its floor of the same run: a table, and target/bench/*.json (some 7 minutes, and 10 to build; ONLY=, FSYNC=: see benches/main.rs)
	@tests/cluster/build.sh >/dev/null
	$(CARGO) bench --locked --bench figures

bench-scale: ## One mapping in a cluster of 10,000 namespaces: 150,000 bindings from nothing (some 15 minutes; GROUPS_OF=1000: smaller)
	@tests/cluster/build.sh >/dev/null
	ONLY=scale $(CARGO) bench --locked --bench figures

image: ## The container image, made without a container engine: target/image/rolecall.tar, and its bill of materials
	@CARGO="$(CARGO)" tests/image/build.sh

e2e: image ## Pods on a node with a real kubelet, under load while things break (needs root; LOAD=30 seconds of RATE=50 a second; KEEP=1: keep logs)
	@tests/cluster/build.sh >/dev/null
	@tests/cluster/node/build.sh >/dev/null
	$(CARGO) build --locked --example e2e
	@tests/cluster/apart.sh "$${CARGO_TARGET_DIR:-target}/debug/examples/e2e"

manifests: ## Write dist/install.yaml and dist/kustomize from the chart, for those who do not use Helm
	@tests/manifests/render.sh dist

cluster: ## A real control plane to look around in, until Ctrl-C: target/cluster/kubeconfig
	@echo "KUBECONFIG=$(CURDIR)/target/cluster/kubeconfig; programs in $$(tests/cluster/build.sh)"
	@tests/cluster/run.sh --stay target/cluster

docs: ## Write docs/conformance.md from the requirements and the tests, and contrib/argocd's test data from the statuses
	ROLECALL_WRITE_DOCS=1 $(CARGO) test --locked --quiet --test it -- conformance:: gitops::files_are_fresh policies::can_i

crds: ## Write crds/ from the types
	$(CARGO) run --locked --quiet --bin rolecall -- crds --dir crds

audit: ## Known vulnerabilities in dependencies (needs the advisory database, so the network)
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked --quiet cargo-deny
	cargo deny check advisories
