# `make test` is all that a change must pass; it runs on a fresh Debian 12 with the Rust toolchain. `make help` lists the rest.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BPF := services/media/bpf
PACKAGES := sip-tester baresip-core postgresql iproute2 sipvicious valgrind chromium-headless-shell libfaketime
PROGRAMS := sipp baresip ip svmap valgrind

.DEFAULT_GOAL := help
.PHONY: help deps fmt lint build release test test-unit test-interop simulate mutants docs audit run demo docker \
	bpf fuzz kills recovery bench-sipp bench-flood bench-renewal bench-signalling bench-memory bench-delay bench-media bench-kernel bench-survive bench-codec bench-records bench-srtp bench-relay-srtp bench-linear bench-programs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## the programs that the interop tests talk to, and valgrind (Debian packages, as root)
	@missing=; for program in $(PROGRAMS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgres"; \
	command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || missing="$$missing chromium-headless-shell"; \
	ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing="$$missing libfaketime"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(PACKAGES); \
	else \
		echo "missing:$$missing; install the packages: $(PACKAGES)" >&2; exit 1; \
	fi

fmt: ## lays the sources out
	$(CARGO) fmt --all

lint: ## layout and lints, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@if command -v python3 >/dev/null; then tests/mutation/mutants.py --list >/dev/null; fi

build: ## the binary, for development
	$(CARGO) build --locked -p drawbridge

release: ## the binary, for use
	$(CARGO) build --locked --release -p drawbridge

# The tests of the engine in the kernel skip themselves where the system has no network namespaces for them; where it should have
# them, DRAWBRIDGE_TEST_KERNEL=1 makes that a failure. They call `ip` (iproute2) and want root and Linux 6.6.
test-unit: ## everything that needs no other program (as root: `ip`, for the engine in the kernel)
	if [ "$$(id -u)" = 0 ] && unshare -n true 2>/dev/null && \
		[ "$$(printf '6.6\n%s\n' "$$(uname -r)" | sort -V | head -n 1)" = 6.6 ]; then \
		export DRAWBRIDGE_TEST_KERNEL=1; \
	fi; \
	$(CARGO) test --locked --workspace --exclude interop

# Stories that need a network of their own are skipped where there is none to be had, and counted at the end; as root there must be.
test-interop: deps build ## calls between the box and SIPp, baresip, a page in Chromium, PostgreSQL
	if [ "$$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then export DRAWBRIDGE_TEST_NETWORK=1; fi; \
	DRAWBRIDGE_SKIPPED=$$(mktemp); export DRAWBRIDGE_SKIPPED; \
	DRAWBRIDGE_BIN=$(abspath $(TARGET))/debug/drawbridge $(CARGO) test --locked -p interop; passed=$$?; \
	if [ -s "$$DRAWBRIDGE_SKIPPED" ]; then wc -l <"$$DRAWBRIDGE_SKIPPED" | xargs echo "stories skipped:"; cat "$$DRAWBRIDGE_SKIPPED"; fi; \
	rm -f "$$DRAWBRIDGE_SKIPPED"; exit $$passed

simulate: ## a long sweep of the simulator, SEEDS=from..to
	SEEDS=$(or $(SEEDS),0..100000) $(CARGO) run --locked --release -p simulation

mutants: ## breaks the state machines on purpose, one mutation at a time; all must be noticed (about an hour)
	tests/mutation/mutants.py --jobs $(or $(JOBS),2)

fuzz: ## searches for bytes that break a reader, TARGET=… (all in turn), MINUTES=… of processor time each (10); needs a C++ compiler
	CARGO=$(CARGO) tests/fuzz/fuzz.sh $(or $(MINUTES),10) $(if $(filter command,$(firstword $(origin TARGET))),$(TARGET))

bpf: ## compiles the programs for the kernel again; fails when a committed object is another (Debian: clang-14 llvm-14 linux-libc-dev)
	@for name in relay steer; do \
		$(BPF)/build.sh $$name $(BPF)/$$name.bpf.new && cmp $(BPF)/$$name.bpf.new $(BPF)/$$name.bpf.o || { \
			echo "look at $$name.bpf.new, then move it to $$name.bpf.o" >&2; exit 1; }; \
		rm $(BPF)/$$name.bpf.new; \
	done

docs: ## the documentation of the crates, broken links are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

test: lint deps test-unit test-interop bench-linear docs ## all of it

audit: ## licences, advisories and sources of the dependencies (needs cargo-deny)
	$(CARGO) deny check

run: build ## the box without a configuration
	$(TARGET)/debug/drawbridge run

demo: build ## the box and two built-in phones that call each other
	$(TARGET)/debug/drawbridge demo

bench-sipp: deps release ## 10,000 calls at 300/s and 2,000 cancels, none may fail
	DRAWBRIDGE_BIN=$(abspath $(TARGET))/release/drawbridge DRAWBRIDGE_CALLS=10000 DRAWBRIDGE_RATE=300 \
		DRAWBRIDGE_CANCELS=2000 $(CARGO) test --locked -p interop --test load -- --nocapture

bench-flood: deps release ## 50,000 datagrams of rubbish a second beside 200 calls/s of a trunk, which may lose nothing
	DRAWBRIDGE_BIN=$(abspath $(TARGET))/release/drawbridge DRAWBRIDGE_RUBBISH=50000 DRAWBRIDGE_CALLS=2000 DRAWBRIDGE_RATE=200 \
		$(CARGO) test --locked -p interop --test strangers rubbish -- --nocapture

bench-renewal: deps release ## a certificate that changes under 500 TLS calls, none may be dropped
	DRAWBRIDGE_BIN=$(abspath $(TARGET))/release/drawbridge DRAWBRIDGE_TLS_CALLS=500 \
		$(CARGO) test --locked -p interop --test transports certificate_changes

kills: deps release ## kill -9 under calls, 200 times under 200 calls/s; every call that a phone saw must have each record once, its times within WITHIN=50 ms
	DRAWBRIDGE_BIN=$(abspath $(TARGET))/release/drawbridge DRAWBRIDGE_KILLS=$(or $(KILLS),200) DRAWBRIDGE_RATE=$(or $(RATE),200) \
		DRAWBRIDGE_WITHIN_MS=$(or $(WITHIN),50) $(CARGO) test --locked -p interop --test crash -- --nocapture

recovery: deps release ## kill -9 under 1000 calls; both sides' BYE must be answered after the restart, the other side told, one record each
	DRAWBRIDGE_BIN=$(abspath $(TARGET))/release/drawbridge DRAWBRIDGE_CALLS=$(or $(CALLS),1000) DRAWBRIDGE_RATE=$(or $(RATE),100) \
		$(CARGO) test --locked -p interop --test recovery -- --nocapture

bench-codec: ## reading, rewriting and writing an INVITE of 961 bytes, beside rsip
	$(CARGO) run --locked --release -p bench --bin codec

bench-srtp: ## what encrypting a packet of 172 bytes costs, and decrypting it, by suite; a handshake of DTLS, and what a hundred at once cost a call beside them
	$(CARGO) test --locked --release -p media --lib --test encryption -- --ignored --nocapture --test-threads 1 figures

bench-records: deps release ## records a second into the journal and PostgreSQL, RATE=6000 for SECONDS=20 into a table of ROWS=1000000; then what a call costs with PostgreSQL
	$(CARGO) bench --locked -p store --bench records -- $(or $(RATE),6000) $(or $(SECONDS),20) $(or $(ROWS),1000000)
	tests/bench/records.py $(TARGET)/release/drawbridge

bench-linear: deps ## instructions a byte of the dearest headers, by valgrind; fails above three times an ordinary message
	$(CARGO) bench --locked -p torture --bench linear

bench-programs:
	$(CARGO) build --locked --release -p bench

bench-signalling: release ## processor time per call, against Kamailio
	tests/bench/signalling.py $(TARGET)/release/drawbridge

bench-memory: release bench-programs ## memory per held call, without media and with
	tests/bench/memory.py $(TARGET)/release/drawbridge 5000 $(TARGET)/release/rtpload

bench-delay: release bench-programs ## added post-dial delay, Kamailio's beside it
	tests/bench/delay.py $(TARGET)/release/drawbridge $(TARGET)/release/callprobe

bench-media: release bench-programs ## relayed packets: loss, delay and processor time, against rtpengine
	tests/bench/media.py $(TARGET)/release/drawbridge $(TARGET)/release/rtpload

bench-kernel: release bench-programs ## what relaying adds to a packet, in the kernel and not, against rtpengine; as root
	tests/bench/kernel.py $(TARGET)/release/drawbridge $(TARGET)/release/rtpload

bench-survive: release bench-programs ## the gap that a kill -9 under 500 calls with media makes, with media.survive_restart and without; as root
	tests/bench/survive.py $(TARGET)/release/drawbridge $(TARGET)/release/rtpload

bench-relay-srtp: release bench-programs ## what encryption adds to a relayed packet, by suite, and its share (with `perf`)
	tests/bench/srtp.py $(TARGET)/release/drawbridge $(TARGET)/release/rtpload

docker: ## the image
	docker build -t drawbridge .
