# Every command a developer needs. `make` alone lists them.

SHELL := /bin/sh
CARGO ?= cargo

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
# Where `make install` finds the programs.
BUILT ?= $(or $(CARGO_TARGET_DIR),target)/release
DEBUG ?= $(or $(CARGO_TARGET_DIR),target)/debug
# Of `make drive-api`, for each route.
CASES ?= 60

# What tests, benchmarks and the demo need besides Rust, make and a C compiler: Debian packages.
TEST_PACKAGES := bird2 frr gobgpd exabgp postgresql bgpdump
DEMO_PACKAGES := bird2

.DEFAULT_GOAL := help
.PHONY: help setup lint test bench interop explore drive-api demo build install lab clean

help: ## List the commands
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo DEMO=plain       the demo without the console: prints each step, fails when a rule was wrong"
	@echo "  PREFIXD_TEST_ALLOW_MISSING=bird,frr,gobgp,exabgp,postgresql,bgpdump make test"
	@echo "                             skips what needs the named programs, and says so; schemathesis: the same of drive-api"

setup: ## Install the routers and the database that the tests need (Debian packages)
	@lab/install-packages $(TEST_PACKAGES)

lint: ## Formatting, clippy, documentation, house rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet
	lab/house-rules

test: setup ## Run every test, with real routers and databases
	@lab/run-tests

bench: ## Measure and print the figures of docs/benchmarks.md (about 10 minutes; release build; ONLY=bgp: one group)
	@lab/install-packages bird2 frr postgresql
	$(CARGO) build --release --locked -p prefixd -p lab@0.1.0 --bins
	$(CARGO) build --release --locked -p prefixd --example bare
	$(CARGO) build --release --locked -p prefixd-bgp --example speed
	target/release/bench --prefixd target/release/prefixd $(if $(ONLY),--only $(ONLY))

interop: setup ## Play the matrix of sessions with every router and write docs/interop.md (about 5 minutes)
	$(CARGO) run --locked -p prefixd-bgp --example interop > docs/interop.md.new
	mv docs/interop.md.new docs/interop.md

explore: ## Try properties, model and simulation with another seed and many more cases (SEED=7, PROPTEST_CASES=10000)
	@seed=$${SEED:-$$(date +%s)}; echo "SEED=$$seed" >&2; \
	PROPTEST_RNG_SEED=$$seed PROPTEST_CASES=$${PROPTEST_CASES:-10000} PREFIXD_MODEL_SEEDS=$${PREFIXD_MODEL_SEEDS:-600} PREFIXD_SIM_SEEDS=$${PREFIXD_SIM_SEEDS:-50000} \
	$(CARGO) test --workspace --locked --lib --no-fail-fast

drive-api: ## Drive the daemon by its OpenAPI document on both stores (python3-venv, PyPI; 2 minutes)
	@lab/install-packages curl python3-venv postgresql
	$(CARGO) build --locked -p prefixd -p lab@0.1.0 --bins
	lab/drive-api $(DEBUG)/prefixd $(CASES)
	$(DEBUG)/beside-postgres lab/drive-api $(DEBUG)/prefixd $(CASES) @

demo: ## Daemon, a real router, an attack wave, and the console on top (DEMO=plain: no console)
	@lab/install-packages $(DEMO_PACKAGES)
	$(CARGO) build --locked -p prefixd -p prefixd-tui -p lab@0.1.0 --bins
	@target/debug/demo --prefixd target/debug/prefixd --console target/debug/prefixd-tui $(if $(filter plain,$(DEMO)),--plain)

build: ## Build what is installed: a release build, as yourself
	$(CARGO) build --release --locked -p prefixd -p prefixdctl -p prefixd-tui --bins

# Copies alone, so that root needs no Rust.
install: ## Install what `make build` built, manual pages, unit and samples (DESTDIR, PREFIX, SYSCONFDIR)
	@for program in prefixd prefixdctl prefixd-tui; do \
		if ! [ -x $(BUILT)/$$program ]; then echo "$(BUILT)/$$program is not there: make build first" >&2; exit 1; fi; \
	done
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(SYSCONFDIR)/prefixd
	install -m 0755 $(BUILT)/prefixd $(BUILT)/prefixdctl $(BUILT)/prefixd-tui $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 0644 man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	sed -e 's,/usr/local/bin,$(PREFIX)/bin,' -e 's,/etc/prefixd,$(SYSCONFDIR)/prefixd,' etc/systemd/prefixd.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/prefixd.service
	install -m 0644 etc/sysusers.d/prefixd.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/
	@for file in prefixd inventory playbooks; do \
		target=$(DESTDIR)$(SYSCONFDIR)/prefixd/$$file.yaml; \
		if [ -e $$target ]; then echo "$$target stays as it is"; else install -m 0640 etc/$$file.yaml $$target; fi; \
	done
	@echo "Next: systemd-sysusers; chgrp -R prefixd $(SYSCONFDIR)/prefixd; systemctl daemon-reload (README.md)"

lab: setup ## Only the tests of the lab itself: do the routers and the database work on this machine?
	$(CARGO) test --locked -p lab@0.1.0

clean: ## Remove what was built
	$(CARGO) clean
